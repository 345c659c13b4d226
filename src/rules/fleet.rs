//! What one selector matches.

use crate::model::{ClusterView, Pod, Selector, Workload};

/// The workloads and Pods that a selector matches.
pub struct Fleet<'a> {
    /// Workloads whose Pod template carries what the selector asks for.
    pub workloads: Vec<&'a Workload>,
    /// Matched Pods that no matched workload owns: bare ones, those of an operator's own kind, those that got
    /// their labels at run time. Ones that have ended are left out.
    pub standing: Vec<&'a Pod>,
    /// How many matched Pods serve now.
    pub ready: usize,
}

impl<'a> Fleet<'a> {
    /// The fleet of a selector.
    #[must_use]
    pub fn of(selector: &Selector, view: &'a ClusterView) -> Self {
        let workloads: Vec<&Workload> = view
            .workloads
            .iter()
            .filter(|workload| workload.stands_alone() && selector.matches(&workload.template_labels))
            .collect();
        let owned: Vec<&Pod> = workloads.iter().flat_map(|workload| view.pods_of(workload)).collect();
        let matched = || view.pods.iter().filter(|pod| selector.matches(&pod.meta.labels));
        Self {
            standing: matched()
                .filter(|pod| !pod.terminal && !owned.iter().any(|known| std::ptr::eq(*known, *pod)))
                .collect(),
            ready: matched().filter(|pod| pod.serves()).count(),
            workloads,
        }
    }

    /// Whether the selector matches nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.workloads.is_empty() && self.standing.is_empty()
    }
}
