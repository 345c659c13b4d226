//! What is found about the policies of a cluster, once for each.

use super::checks::{POLICIES_OVERLAP, POLICY_SOFTENS};
use super::finding::Finding;
use crate::policy::Policies;
use crate::policy::merge::softened;

/// The findings. They belong to no namespace. Of a policy that cannot be read, nothing is said.
#[must_use]
pub fn findings(policies: &Policies) -> Vec<Finding> {
    let mut all = Vec::new();
    for stored in &policies.all {
        let about = |check, message| Finding::new(check, "", ("BlueGreenPolicy", &stored.name), "", message);
        let softens = stored.content.as_ref().map(softened).unwrap_or_default();
        if !softens.is_empty() {
            all.push(about(&POLICY_SOFTENS, format!("it makes softer: {}", softens.join(", "))));
        }
        let overlaps = &stored.status.overlaps;
        if !overlaps.is_empty() {
            all.push(about(&POLICIES_OVERLAP, format!("it shares namespaces with {}", overlaps.join(", "))));
        }
    }
    all
}
