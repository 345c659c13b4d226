//! What a Service expects to flip to: `flipguard.dev/expect`. A release that writes Service and workload in one go then
//! never lands on the version before.

use super::target::allowed_because;
use super::update::Update;
use crate::model::{Service, Workload, annotation};
use crate::rules::wording::Remedy;
use crate::rules::{Finding, Reason};

/// What the target has to run.
#[derive(Debug, PartialEq, Eq)]
enum Expectation<'a> {
    /// A container runs this image.
    Image(&'a str),
    /// The Pod template has this label.
    Label(&'a str, &'a str),
}

/// The finding about a flip to another version than the expected one. A rollback is not asked, unless the same write says
/// what it expects: the annotation names the version that one goes away from.
pub(super) fn finding(update: &Update<'_>, goes_back: bool) -> Option<Finding> {
    let Update { old, new, target, .. } = update;
    let value = new.meta.annotation(annotation::EXPECT)?.trim();
    if goes_back && old.meta.annotation(annotation::EXPECT).map(str::trim) == Some(value) {
        return None;
    }
    let Some(expected) = Expectation::parse(value) else {
        // A write that sets it is told of that as of any other setting.
        let is_set = old.meta.annotation(annotation::EXPECT) != new.meta.annotation(annotation::EXPECT);
        let message = format!("annotation {} is `{value}`, which names no version", annotation::EXPECT);
        let remedy = Remedy::words("Write, for example, \"app:2.0\" or \"version=2.0\"");
        return (!is_set).then(|| Finding::new(Reason::AnnotationInvalid, message, remedy));
    };
    let mut running = target.wanted().peekable();
    let message = if running.peek().is_none() {
        // That there is no target at all is a finding of its own.
        (!target.is_empty())
            .then(|| format!("no workload behind {} runs {value}, which the Service expects", new.routed()))?
    } else {
        let other = running.find(|workload| !expected.is_run_by(workload))?;
        format!("{other} {}, and the Service expects {value}", expected.what_runs(other))
    };
    let wait = Remedy::words("Wait for its rollout");
    let keys = format!("annotate service {} {}- ", new.meta.name, annotation::EXPECT);
    let remove = Remedy::kubectl("If any version will do, remove the annotation", update.namespace(), keys.trim_end());
    let mut finding = Finding::new(Reason::NotExpected, message, wait).or(Some(remove));
    // Where nothing answers any more, a version that answers is better.
    finding.allowed_because = allowed_because(update);
    Some(finding)
}

/// Why the annotation of a Service names no version.
pub(super) fn unreadable(service: &Service) -> Option<String> {
    let value = service.meta.annotation(annotation::EXPECT)?.trim();
    Expectation::parse(value).is_none().then(|| "it names no version".to_owned())
}

impl<'a> Expectation<'a> {
    fn parse(value: &'a str) -> Option<Self> {
        if value.is_empty() || value.contains(char::is_whitespace) {
            return None;
        }
        if let Some((key, value)) = value.split_once('=') {
            return (!key.is_empty() && !value.is_empty()).then_some(Self::Label(key, value));
        }
        let name = value.rsplit('/').next().unwrap_or(value);
        let (named, rest) = name.split_once([':', '@'])?;
        (!named.is_empty() && !rest.is_empty()).then_some(Self::Image(value))
    }

    fn is_run_by(&self, workload: &Workload) -> bool {
        match self {
            Self::Label(key, value) => workload.template.labels.get(*key).is_some_and(|own| own == value),
            Self::Image(wanted) => workload.template.containers.all().iter().any(|own| is_image(&own.image, wanted)),
        }
    }

    /// What a workload runs instead, in words.
    fn what_runs(&self, workload: &Workload) -> String {
        match self {
            Self::Label(key, _) => match workload.template.labels.get(*key) {
                Some(own) => format!("has the label {key}={own}"),
                None => format!("has no label {key}"),
            },
            Self::Image(_) => format!("runs {}", workload.template.main_image().unwrap_or("no image")),
        }
    }
}

/// Whether an image is the wanted one. The wanted one may leave out the registry, a part of the path, and the digest.
fn is_image(image: &str, wanted: &str) -> bool {
    let without_digest = image.split_once('@').map_or(image, |(name, _)| name);
    // `app:2.0@sha256:...` is also `app@sha256:...`.
    let without_tag = image.split_once('@').and_then(|(name, digest)| {
        let end = name.rfind(':').filter(|colon| name.rfind('/').is_none_or(|slash| slash < *colon))?;
        Some(format!("{}@{digest}", name.get(..end)?))
    });
    let ends = |image: &str| image.strip_suffix(wanted).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'));
    ends(image) || ends(without_digest) || without_tag.is_some_and(|image| ends(&image))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_that_are_the_wanted_one() {
        let digest = "sha256:0123";
        for (image, wanted) in [
            ("app:2.0", "app:2.0"),
            ("registry.example:5000/team/app:2.0", "app:2.0"),
            ("registry.example:5000/team/app:2.0", "team/app:2.0"),
            ("team/app:2.0@sha256:0123", "app:2.0"),
            ("team/app:2.0@sha256:0123", "app@sha256:0123"),
            ("team/app@sha256:0123", "app@sha256:0123"),
            ("registry.example:5000/app@sha256:0123", "app@sha256:0123"),
        ] {
            assert!(is_image(image, wanted), "{image} {wanted}");
        }
        for (image, wanted) in
            [("app:2.0.1", "app:2.0"), ("myapp:2.0", "app:2.0"), ("app:2.0", "team/app:2.0"), ("app", "app:2.0")]
        {
            assert!(!is_image(image, wanted), "{image} {wanted}");
        }
        assert!(!is_image(&format!("app@{digest}4"), &format!("app@{digest}")));
    }

    #[test]
    fn values_that_can_be_read() {
        assert_eq!(Expectation::parse("version=2.0"), Some(Expectation::Label("version", "2.0")));
        assert_eq!(Expectation::parse("r.example:5000/app:2"), Some(Expectation::Image("r.example:5000/app:2")));
        for wrong in ["", "2.0", "app", "app:", "r.example:5000/app", "=2.0", "version=", "app: 2.0"] {
            assert_eq!(Expectation::parse(wrong), None, "{wrong}");
        }
    }
}
