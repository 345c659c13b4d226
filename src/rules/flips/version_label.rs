//! Version labels: does a version label agree with its image?

use super::update::Update;
use crate::rules::state::version::of_image;
use crate::rules::wording::Remedy;
use crate::rules::{Finding, Reason};

/// The warnings about version labels that disagree with their images.
pub(super) fn findings(update: &Update<'_>) -> Vec<Finding> {
    update
        .target
        .workloads
        .iter()
        .filter_map(|workload| {
            let label = workload.template.labels.get(&update.colours.version_key)?;
            let image = workload.template.main_image()?;
            let version = of_image(image);
            (!version.is_guess && !agree(label, &version.label)).then(|| {
                Finding::new(
                    Reason::VersionMismatch,
                    format!("{workload} has the label version={label} but runs {image}"),
                    Remedy::words("Correct the label or the image"),
                )
            })
        })
        .collect()
}

/// Whether a label and a tag name the same version: they are equal, or one has more detail (`1.0` and `v1.0.3`). A
/// label without a digit (`version: blue`) is not compared, nor are `latest` and digests.
fn agree(label: &str, tag: &str) -> bool {
    let plain = |text: &str| text.strip_prefix(['v', 'V']).unwrap_or(text).to_owned();
    let (label, tag) = (plain(label), plain(tag));
    let begins = |long: &str, short: &str| {
        long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-', '_']))
    };
    let is_number = |text: &str| text.starts_with(|letter: char| letter.is_ascii_digit());
    !is_number(&label) || !is_number(&tag) || begins(&tag, &label) || begins(&label, &tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_agree() {
        for (a, b) in
            [("1.0", "1.0"), ("v1.0", "1.0"), ("1.0", "1.0.3"), ("1", "1.20.1"), ("blue", "2.0"), ("2.0", "main")]
        {
            assert!(agree(a, b), "{a} {b}");
        }
        for (a, b) in [("1.0", "2.0"), ("1.0", "1.01"), ("2.0", "v1.9")] {
            assert!(!agree(a, b), "{a} {b}");
        }
    }
}
