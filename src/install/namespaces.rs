//! The namespaces that flipguard may run in, and those that an admin may exempt.

use crate::model::printable;

/// The namespace in the templates of the chart, which are generated with it.
const RELEASE: &str = "{{ .Release.Namespace }}";

/// The namespaces that are never guarded, besides flipguard's own.
pub const NEVER_GUARDED: [&str; 2] = ["kube-node-lease", "kube-system"];

/// Checks flipguard's own namespace. flipguard never guards it, so it must not be one with apps.
///
/// # Errors
/// When no namespace can have this name, it is `default`, or it belongs to Kubernetes.
pub fn own(namespace: &str) -> Result<String, String> {
    if namespace != RELEASE {
        named(namespace)?;
    }
    if namespace == "default" || namespace.starts_with("kube-") {
        return Err(format!(
            "cannot run in namespace {namespace}, because flipguard does not guard its own namespace; give it one \
             without apps with --namespace, such as flipguard-system"
        ));
    }
    Ok(namespace.to_owned())
}

/// Checks the name of a namespace.
///
/// # Errors
/// When no namespace can have this name.
pub fn named(namespace: &str) -> Result<String, String> {
    if is_name(namespace) {
        Ok(namespace.to_owned())
    } else {
        Err(format!("no namespace can be named `{}`: {NAMES}, such as flipguard-system", printable(namespace)))
    }
}

/// Checks the name of an exempt namespace. Any other text would exempt nothing, without an error.
///
/// # Errors
/// When no namespace can have this name.
pub fn exempt(namespace: &str) -> Result<String, String> {
    const EXAMPLE: &str = "such as ci-previews";
    if namespace.contains('*') {
        return Err(format!("names are compared as they are, without patterns; give each one, {EXAMPLE}"));
    }
    if is_name(namespace) { Ok(namespace.to_owned()) } else { Err(format!("{NAMES}, {EXAMPLE}")) }
}

const NAMES: &str = "a namespace has at most 63 lower-case letters, digits and inner hyphens";

fn is_name(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let ends = [text.bytes().next(), text.bytes().next_back()];
    (1..=63).contains(&text.len()) && text.bytes().all(is_inner) && ends.into_iter().flatten().all(|byte| byte != b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_are_checked() {
        for namespace in ["flipguard-system", "team-a", "defaults", "kubeflow", "{{ .Release.Namespace }}"] {
            assert!(own(namespace).is_ok(), "{namespace}");
        }
        for namespace in ["default", "kube-system", "kube-public", "kube-"] {
            assert!(own(namespace).unwrap_err().contains("such as flipguard-system"), "{namespace}");
        }
        for namespace in ["", "Team A", "-a", "a_b", "{{ .Values.namespace }}"] {
            let words = format!("no namespace can be named `{namespace}`: a namespace has at most 63");
            assert!(own(namespace).unwrap_err().starts_with(&words), "{namespace}");
        }
        for namespace in ["a", "ci-previews", "team-1"] {
            assert!(exempt(namespace).is_ok(), "{namespace}");
        }
        for namespace in ["", "Team", "-a", "a-", "a_b", "a.b", " a", &"a".repeat(64)] {
            assert!(exempt(namespace).unwrap_err().contains("at most 63"), "{namespace}");
        }
        assert!(exempt("ci-*").unwrap_err().contains("without patterns"));
    }
}
