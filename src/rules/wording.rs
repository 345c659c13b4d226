//! Numbers of Pods in words.

/// `1 pod`, `3 pods`; with a word before: `1 ready pod`.
pub(crate) fn pods(count: usize, which: &str) -> String {
    let space = if which.is_empty() { "" } else { " " };
    let end = if count == 1 { "" } else { "s" };
    format!("{count} {which}{space}pod{end}")
}

/// `1 pod serves`, `3 pods serve`.
pub(crate) fn pods_serve(count: usize) -> String {
    let end = if count == 1 { "s" } else { "" };
    format!("{} serve{end}", pods(count, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_no_plural() {
        assert_eq!(pods(1, "ready"), "1 ready pod");
        assert_eq!(pods(0, ""), "0 pods");
        assert_eq!(pods_serve(1), "1 pod serves");
        assert_eq!(pods_serve(2), "2 pods serve");
    }
}
