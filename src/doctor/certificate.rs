//! Checks the certificate in the Secret.

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use time::OffsetDateTime;

use super::{Check, Health, Runs};
use crate::certs::Identity;
use crate::certs::inspect::inspect;
use crate::certs::pem::{life_of, names_of};
use crate::certs::store::identity_in;
use crate::install::NAME;

/// Reads the Secret, and checks its certificate.
pub(super) async fn stored(client: &Client, namespace: &str, runs: Runs) -> (Option<Identity>, Check) {
    const CHECK: &str = "certificate";
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let identity = match secrets.get_opt(NAME).await {
        Err(error) => return (None, Check::unknown(CHECK, "read flipguard's Secret", &error)),
        Ok(None) => {
            let message = format!("there is no Secret {namespace}/{NAME}; flipguard creates it when it starts");
            return (None, Check::of(CHECK, Health::Broken, message, format!("read why: {}", runs.logs(namespace))));
        }
        Ok(Some(secret)) => identity_in(&secret),
    };
    let check = judge(&identity, namespace, runs, OffsetDateTime::now_utc());
    (Some(identity), check)
}

fn judge(identity: &Identity, namespace: &str, runs: Runs, now: OffsetDateTime) -> Check {
    const CHECK: &str = "certificate";
    let broken = |message: String| {
        let heal = format!(
            "a running flipguard repairs it within seconds; if not: kubectl -n {namespace} delete secret {NAME}, and \
             start flipguard"
        );
        Check::of(CHECK, Health::Broken, message, heal)
    };
    let stored = inspect(identity, &names_of(&identity.leaf), false);
    if !stored.token {
        return broken(format!("Secret {namespace}/{NAME} has no token"));
    }
    if identity.leaf.is_empty() && identity.authority.is_empty() {
        let message = "flipguard serves the files of --certificates, whose end only its metric shows; the Secret holds \
                       only the token";
        return Check::ok(CHECK, message);
    }
    let (Some(leaf), Some(authority)) = (stored.leaf, stored.current) else {
        return broken(format!("Secret {namespace}/{NAME} holds no complete certificate and key"));
    };
    let until = |pem: &str| life_of(pem).map_or_else(String::new, |life| life.until.date().to_string());
    let message = format!(
        "valid until {} for {}; its authority until {}",
        until(&identity.leaf),
        names_of(&identity.leaf).join(", "),
        until(&identity.authority)
    );
    if !leaf.ours || !leaf.life.holds(now) {
        return broken(format!("expired, or not signed by its authority: {message}"));
    }
    // A running flipguard renews it days before this.
    let late = |due: bool| if due { Some("its renewal is overdue") } else { None };
    match late(leaf.life.is_due(now - time::Duration::days(1)) || authority.life.is_due(now - time::Duration::days(7)))
    {
        Some(late) => {
            let why = format!("read why: {}", runs.logs(namespace));
            Check::of(CHECK, Health::Warning, format!("{late}: {message}"), why)
        }
        None => Check::ok(CHECK, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_has_its_words() {
        let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
        let whole = Identity::issue(&["guard.example".to_owned()], now).unwrap();
        let check_of =
            |identity: &Identity, days: i64| judge(identity, "own", Runs::Inside, now + time::Duration::days(days));
        let ok = check_of(&whole, 0);
        assert_eq!((ok.health, ok.next_step.as_str()), (Health::Ok, ""));
        assert!(
            ok.message.starts_with("valid until 2028-01-15 for guard.example; its authority until 2037-"),
            "{ok:?}"
        );
        assert_eq!(check_of(&whole, 243).health, Health::Ok);
        assert!(check_of(&whole, 246).message.starts_with("its renewal is overdue: valid until"));
        assert!(check_of(&whole, 366).message.starts_with("expired"));
        let files = Identity { token: whole.token.clone(), ..Identity::default() };
        assert!(check_of(&files, 0).message.contains("--certificates"));
        let half = Identity { leaf_key: String::new(), ..whole.clone() };
        assert!(check_of(&half, 0).message.contains("no complete certificate"));
        let nameless = Identity { token: "short".to_owned(), ..whole };
        let check = check_of(&nameless, 0);
        assert!(
            check.message.contains("no token") && check.next_step.contains("kubectl -n own delete secret flipguard")
        );
    }
}
