//! Diagnosis for an admin: whether the API server calls flipguard, trusts it, and permits what it needs.
//!
//! Each check looks at one thing and never fails. A check that cannot look reports that.

mod admission_policies;
mod called;
mod certificate;
mod cluster;
mod gates;
mod policies;
mod registered;
mod token;

use kube::Client;
use serde::Serialize;

use crate::certs::Identity;
use crate::cluster::token::TokenLife;
use crate::install::{NAME, manifests_command};
use crate::model::Enforcement;

/// The result of a check, from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Nothing to do.
    Ok,
    /// Worth knowing; flipguard still guards.
    Warning,
    /// The check could not look.
    Unknown,
    /// Something has to be repaired.
    Broken,
}

/// One check and its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The name of the check, such as `registration`.
    pub check: &'static str,
    /// The result.
    pub health: Health,
    /// What the check found, in one line.
    pub message: String,
    /// What to do about it; empty for `Ok`.
    #[serde(rename = "nextStep")]
    pub next_step: String,
}

/// The installation to check.
#[derive(Debug, Clone)]
pub struct Target {
    /// flipguard's own namespace.
    pub namespace: String,
    /// The namespace for the dry run of a write that flipguard must see.
    pub probe_namespace: String,
    /// `--exempt-users` of `serve`; `None` to read them from the Deployment.
    pub exempt_users: Option<Vec<String>>,
    /// `--exempt-namespaces` of `serve`; `None` to read them from the Deployment.
    pub exempt_namespaces: Option<Vec<String>>,
    /// `--enforcement` of `serve`; `None` to read it from the Deployment.
    pub enforcement: Option<Enforcement>,
    /// The token of the kubeconfig, if it tells when it ends.
    pub token: Option<TokenLife>,
    /// `--labels` of `serve`; `None` to read it from the Deployment.
    pub labels: Option<bool>,
}

impl Check {
    fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, health: Health::Ok, message: message.into(), next_step: String::new() }
    }

    fn of(check: &'static str, health: Health, message: impl Into<String>, next_step: impl Into<String>) -> Self {
        Self { check, health, message: message.into(), next_step: next_step.into() }
    }

    /// A check whose request failed or is not permitted.
    fn unknown(check: &'static str, what: &str, error: &kube::Error) -> Self {
        let message = format!("cannot {what}: {}", crate::cluster::connect::one_line(error));
        Self::of(check, Health::Unknown, message, "run it with credentials that may, such as a cluster admin's")
    }
}

/// The flags of `serve` that the registration depends on.
struct Settings {
    exempt_users: Vec<String>,
    exempt_namespaces: Vec<String>,
    enforcement: Enforcement,
    labels: bool,
}

impl Settings {
    /// Those that are given, else those in the arguments of the Deployment.
    fn of(target: &Target, args: &[String]) -> Self {
        let given =
            |given: &Option<Vec<String>>, flag: &str| given.clone().unwrap_or_else(|| cluster::values_of(flag, args));
        let warns = cluster::values_of("--enforcement", args).last().is_some_and(|value| value == "warn");
        Self {
            exempt_users: given(&target.exempt_users, "--exempt-users"),
            exempt_namespaces: given(&target.exempt_namespaces, "--exempt-namespaces"),
            enforcement: target.enforcement.unwrap_or(if warns { Enforcement::Warn } else { Enforcement::Deny }),
            labels: target.labels.unwrap_or_else(|| cluster::values_of("--labels", args) != ["false"]),
        }
    }
}

/// Where flipguard runs, as far as the cluster shows. The next steps differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Runs {
    /// In the cluster, as a Deployment.
    Inside,
    /// Outside: its namespace has no Deployment.
    Outside,
}

impl Runs {
    /// Where to read why something went wrong.
    fn logs(self, namespace: &str) -> String {
        match self {
            // With `deployment/flipguard`, kubectl shows the log of one replica.
            Self::Inside => {
                format!("kubectl -n {namespace} logs -l app.kubernetes.io/name={NAME} --prefix --tail=100")
            }
            Self::Outside => "the log of `flipguard serve`, on the machine where it runs".to_owned(),
        }
    }

    /// How to bring the objects of the installation back.
    fn apply_again(self, namespace: &str) -> String {
        let command = manifests_command(namespace, (self == Self::Outside).then_some("URL"));
        match self {
            Self::Inside => format!("apply the output of `{command}` again, or run `helm upgrade`"),
            Self::Outside => format!("apply the output of `{command}` again, with the URL of this flipguard"),
        }
    }
}

/// Runs all checks.
pub async fn run_checks(client: &Client, target: &Target) -> Vec<Check> {
    let namespace = target.namespace.as_str();
    let mut checks = vec![cluster::api_server(client).await, cluster::clock(client, namespace).await];
    checks.extend(token::life(target.token.as_ref(), namespace));
    let missing = cluster::missing_namespace(client, namespace).await;
    let is_missing = missing.is_some();
    checks.extend(missing);
    // Whatever is in the namespace would seem to be missing, each for a reason of its own.
    let Installed { identity, settings, runs } = if is_missing {
        Installed { identity: None, settings: Settings::of(target, &[]), runs: Runs::Inside }
    } else {
        let (more, installed) = in_own_namespace(client, target).await;
        checks.extend(more);
        installed
    };
    let (policies, colours) = policies::stored(client, namespace, runs).await;
    checks.extend(policies);
    checks.extend(registered::registered(client, namespace, &settings, &colours, identity.as_ref()).await);
    if !is_missing {
        checks.push(called::by_a_probe(client, namespace).await);
    }
    checks.push(called::through_the_api_server(client, &target.probe_namespace, settings.enforcement).await);
    checks
}

/// What the later checks need of flipguard's own namespace.
struct Installed {
    identity: Option<Identity>,
    settings: Settings,
    runs: Runs,
}

/// The checks of what is in flipguard's own namespace.
async fn in_own_namespace(client: &Client, target: &Target) -> (Vec<Check>, Installed) {
    let namespace = target.namespace.as_str();
    let mut checks = vec![cluster::own_namespace(client, namespace).await];
    let (replicas, runs, args) = cluster::replicas(client, namespace).await;
    let settings = Settings::of(target, &args);
    checks.push(cluster::rights(client, namespace, settings.labels, runs).await);
    checks.extend(replicas);
    let (identity, check) = certificate::stored(client, namespace, runs).await;
    checks.push(check);
    (checks, Installed { identity, settings, runs })
}

/// The worst result.
#[must_use]
pub fn worst(checks: &[Check]) -> Health {
    checks.iter().map(|check| check.health).max().unwrap_or(Health::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_steps_fit_the_place() {
        let inside = Runs::Inside.apply_again("own");
        assert_eq!(inside, "apply the output of `flipguard manifests --namespace own` again, or run `helm upgrade`");
        let outside = Runs::Outside.apply_again("own");
        assert!(outside.contains("`flipguard manifests --namespace own --external-url URL` again"), "{outside}");
        assert!(Runs::Inside.logs("own").starts_with("kubectl -n own logs "));
        assert!(!Runs::Outside.logs("own").contains("kubectl"));
    }
}
