//! Any bytes as a list in protobuf: nothing panics, and what is written is JSON.
#![no_main]

use flipguard::cluster::list::{Answered, Form};
use flipguard::model::{Pod, Service, WorkloadKind, WorkloadManifest};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    if let Ok(list) = protobuf_json::List::read(body) {
        serde_json::from_str::<serde_json::Value>(&list.metadata().unwrap_or_else(|_| "{}".to_owned())).unwrap();
        // The data of a revision are JSON that the API server has checked, and are taken over as they are.
        let is_checked = !body.windows(22).any(|part| part == b"ControllerRevisionList");
        let each = |list: &protobuf_json::List<'_>| {
            let _ = list.each(|item| {
                assert!(!is_checked || serde_json::from_str::<serde_json::Value>(item).is_ok(), "{item}");
                Ok::<_, protobuf_json::Error>(())
            });
        };
        each(&list);
        each(&list.with_templates_of(vec![("app", "shop")]));
    }
    let _ = protobuf_json::status(body);
    let answered = Answered { form: Form::Protobuf, body: body.to_vec() };
    let _ = answered.page::<WorkloadManifest>().map(|page| {
        page.each(|manifest| drop(manifest.into_workload(WorkloadKind::Deployment).as_listed()))
    });
    let _ = answered.page::<Pod>().map(|page| page.each(drop));
    let _ = answered.page::<Service>().map(|page| page.each(drop));
});
