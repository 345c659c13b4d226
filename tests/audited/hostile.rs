//! A status in which every text is hostile, for the tests of what shows one.

use flipguard::model::Timestamp;
use flipguard::policy::explain::Explained;
use flipguard::status::NamespaceStatus;
use flipguard::status::past::PastFlip;
use flipguard::status::report::{FlipRecord, OverrideStatus, Problem};

/// Every text of a status becomes hostile.
pub(crate) fn make_hostile(status: &mut NamespaceStatus, evil: &str) {
    let some = || Some(evil.to_owned());
    evil.clone_into(&mut status.namespace);
    (status.enforcement_by, status.without_ledger) = (some(), some());
    (status.notes, status.unread) = (vec![evil.to_owned()], vec![evil.to_owned()]);
    status.settings = vec![Explained { setting: evil.to_owned(), value: evil.to_owned(), policy: some() }];
    status.problems = Some(vec![Problem { code: "no-pdb", object: evil.to_owned(), message: evil.to_owned() }]);
    status.others.iter_mut().for_each(|other| evil.clone_into(&mut other.name));
    for service in &mut status.services {
        evil.clone_into(&mut service.name);
        service.attention = some();
        service.active_override = Some(OverrideStatus { until: Timestamp(0), reason: evil.to_owned() });
        let [from, user, manager] = [evil, evil, evil].map(str::to_owned);
        service.last_flip = Some(FlipRecord { at: Timestamp(0), seconds_ago: 1, from, user, manager });
        let [at, act, colour, image, user, with, notes] = [(); 7].map(|()| evil.to_owned());
        service.flips = vec![PastFlip { at, act, colour, image, user, with, notes }];
        for colour in &mut service.colours {
            evil.clone_into(&mut colour.colour);
            if let Some(flip) = &mut colour.flip {
                flip.decision = "denied";
                (flip.because, flip.words) = (evil.to_owned(), evil.to_owned());
            }
            for workload in &mut colour.workloads {
                (workload.workload, workload.image) = (evil.to_owned(), evil.to_owned());
                (workload.revision, workload.trouble) = (some(), some());
                for pod in &mut workload.pods {
                    (pod.name, pod.because) = (evil.to_owned(), some());
                }
            }
        }
    }
}
