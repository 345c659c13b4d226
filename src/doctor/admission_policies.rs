//! Checks the admission policies that limit what flipguard's ServiceAccount may write.

use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::{Check, Health};
use crate::install::{self, policy};
use crate::registration::endpoint::Address;

const CHECK: &str = "own-writes";

/// Compares the policies and their bindings with those that this version renders. `address` is the registered one;
/// without it, the policy of the registration only has to exist.
pub(super) async fn stored(client: &Client, namespace: &str, address: Option<&Address>) -> Check {
    let url = address.and_then(Address::url);
    let mut wrong = Vec::new();
    for (name, spec) in policy::all(namespace, url) {
        let is_known = address.is_some() || name != policy::registration_name(namespace);
        let rendered = is_known.then_some(spec);
        match one(client, &name, rendered.as_ref()).await {
            Ok(found) => wrong.extend(found),
            Err(error) => return Check::unknown(CHECK, &format!("get the policy {name}"), &error),
        }
    }
    if wrong.is_empty() {
        return Check::ok(CHECK, "the API server limits what flipguard's ServiceAccount may write");
    }
    let message = format!("a stolen token of flipguard could do more than it has to: {}", wrong.join("; "));
    // `kubectl apply` leaves fields that somebody added.
    let again = format!(
        "apply the output of `{}` again, or run `helm upgrade`; if that changes nothing, delete the policy first",
        install::manifests_command(namespace, url)
    );
    Check::of(CHECK, Health::Warning, message, again)
}

/// What is wrong with one policy or its binding.
async fn one(client: &Client, name: &str, rendered: Option<&Value>) -> kube::Result<Option<String>> {
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(client.clone());
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
    let policy = policies.get_opt(name).await?.map(|policy| json!(policy.spec));
    let binding = bindings.get_opt(name).await?.map(|binding| json!(binding.spec));
    Ok(judge(name, policy.as_ref(), binding.as_ref(), rendered))
}

fn judge(name: &str, policy: Option<&Value>, binding: Option<&Value>, rendered: Option<&Value>) -> Option<String> {
    let bound = policy::binding(name);
    match (policy, binding) {
        (None, _) => Some(format!("there is no ValidatingAdmissionPolicy {name}")),
        (_, None) => Some(format!("there is no ValidatingAdmissionPolicyBinding {name}")),
        (Some(_), Some(binding)) if *binding != bound => {
            Some(format!("the binding {name} is not as this version renders it"))
        }
        (Some(policy), _) if rendered.is_some_and(|rendered| rendered != policy) => {
            Some(format!("the policy {name} is not as this version renders it"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_has_its_words() {
        let (policy, binding) = (policy::own_namespace("own"), policy::binding("a"));
        let is = |stored: Option<&Value>, bound: Option<&Value>| judge("a", stored, bound, Some(&policy));
        assert_eq!(is(Some(&policy), Some(&binding)), None);
        assert_eq!(judge("a", Some(&json!({})), Some(&binding), None), None, "its address is not known");
        assert!(is(None, Some(&binding)).unwrap().contains("no ValidatingAdmissionPolicy a"));
        assert!(is(Some(&policy), None).unwrap().contains("no ValidatingAdmissionPolicyBinding a"));
        let audits = json!({ "policyName": "a", "validationActions": ["Audit"] });
        assert!(is(Some(&policy), Some(&audits)).unwrap().contains("the binding a is not"));
        let other = policy::own_namespace("other");
        assert!(is(Some(&other), Some(&binding)).unwrap().contains("the policy a is not"));
    }
}
