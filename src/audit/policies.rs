//! What is found about the policies of a cluster, once for each.

use std::time::Duration;

use super::checks::{EXEMPTION_UNUSED, POLICIES_OVERLAP, POLICY_SOFTENS};
use super::finding::Finding;
use crate::model::Timestamp;
use crate::policy::Policies;
use crate::policy::merge::softened;
use crate::policy::read::Stored;

/// After how long an exemption counts as unused.
const UNUSED: Duration = Duration::from_secs(30 * 86_400);

/// The findings. They belong to no namespace. Of a policy that cannot be read, nothing is said.
#[must_use]
pub fn findings(policies: &Policies, now: Timestamp) -> Vec<Finding> {
    let mut all = Vec::new();
    for stored in &policies.all {
        let about =
            |check, colour: &str, message| Finding::new(check, "", ("BlueGreenPolicy", &stored.name), colour, message);
        let softens = stored.content.as_ref().map(softened).unwrap_or_default();
        if !softens.is_empty() {
            all.push(about(&POLICY_SOFTENS, "", format!("it makes softer: {}", softens.join(", "))));
        }
        let overlaps = &stored.status.overlaps;
        if !overlaps.is_empty() {
            all.push(about(&POLICIES_OVERLAP, "", format!("it shares namespaces with {}", overlaps.join(", "))));
        }
        for (name, since) in unused(stored, now) {
            let message = format!("exemption {name} has let nothing pass since {since}");
            all.push(about(&EXEMPTION_UNUSED, name, message));
        }
    }
    all
}

/// The exemptions that have let nothing pass for long, with the time of the last use, or since when they are known.
fn unused(stored: &Stored, now: Timestamp) -> Vec<(&str, Timestamp)> {
    let known = |name: &str| {
        let status = stored.status.exemptions.get(name)?;
        let times = [&status.last_used, &status.since].into_iter().flatten();
        times.filter_map(|time| time.parse::<Timestamp>().ok()).max()
    };
    let exemptions = stored.content.iter().flat_map(|spec| &spec.exemptions);
    exemptions
        .filter_map(|exemption| {
            let since = known(&exemption.name)?;
            (now.since(since) >= UNUSED).then_some((exemption.name.as_str(), since))
        })
        .collect()
}
