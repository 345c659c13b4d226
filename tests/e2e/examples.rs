//! The tables of `examples/README.md`: each command is run as it stands there, and answered as it says there.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::Test;
use super::shop::{Attempt, Shop, attempt};

pub(crate) const TESTS: &[Test] = &[
    ("examples::plain_manifests", |shop| every_row(shop, "Plain manifests")),
    ("examples::helm", |shop| every_row(shop, "Helm")),
    ("examples::kustomize", |shop| every_row(shop, "Kustomize")),
    ("examples::argo_cd", |shop| every_row(shop, "Argo CD")),
    ("examples::argo_cd_without_waves", argo_cd_without_waves),
];

/// A row of a table: the command, and its answer in words.
struct Row {
    command: String,
    answer: String,
}

/// The rows below a heading.
fn rows(heading: &str) -> Result<Vec<Row>> {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/README.md"))?;
    let section =
        page.split("\n## ").find(|section| section.starts_with(heading)).context("there is no such heading")?;
    let numbered = |line: &&str| {
        line.strip_prefix("| ").is_some_and(|rest| rest.starts_with(|letter: char| letter.is_ascii_digit()))
    };
    let rows: Vec<Row> = section
        .lines()
        .filter(numbered)
        .filter_map(|line| {
            let mut cells = line.split('|').map(str::trim).skip(2);
            let command = cells.next()?.split('`').nth(1)?.to_owned();
            Some(Row { command, answer: cells.next()?.to_owned() })
        })
        .collect();
    ensure!(rows.len() >= 5, "{heading} has {} rows", rows.len());
    Ok(rows)
}

fn every_row(shop: &Shop, heading: &str) -> Result<()> {
    for row in rows(heading)? {
        answers(&run(shop, &row.command)?, &row.answer)?;
        // The tables give the second Deployment in words.
        if row.command == "kubectl rollout status deployment/app-blue" && heading == "Argo CD" {
            run(shop, "kubectl rollout status deployment/app-green")?.succeeds()?;
        }
    }
    Ok(())
}

/// The page's last paragraph: steps 1 to 3, then 7 before 5.
fn argo_cd_without_waves(shop: &Shop) -> Result<()> {
    let rows = rows("Argo CD")?;
    for row in rows.iter().take(3) {
        run(shop, &row.command)?.succeeds()?;
    }
    run(shop, "kubectl rollout status deployment/app-green")?.succeeds()?;
    let (deploy, flip) = (rows.get(4).context("no step 5")?, rows.get(6).context("no step 7")?);
    run(shop, &flip.command)?.passes_silently()?;
    run(shop, &deploy.command)?.is_refused("live-redeployed", &["Service app"])
}

/// Runs a command of the page, from the root of the repository, in the namespace of the test.
fn run(shop: &Shop, command: &str) -> Result<Attempt> {
    const COMMANDS: &str = r#"
        kubectl() { "$KUBECTL" --kubeconfig="$KUBECONFIG" -n "$NAMESPACE" "$@"; }
        helm() { "$HELM" -n "$NAMESPACE" "$@"; }
        sync() { kubectl apply --server-side --force-conflicts --field-manager=argocd-controller "$@"; }
    "#;
    let helm = shop.control_plane.helm();
    let mut bash = Command::new("bash");
    bash.args(["-c", &format!("{COMMANDS}\n{command}")])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .envs(helm.get_envs().filter_map(|(key, value)| Some((key, value?))))
        .env("KUBECTL", shop.control_plane.kubectl().get_program())
        .env("HELM", helm.get_program())
        .env("KUBECONFIG", shop.control_plane.kubeconfig())
        .env("NAMESPACE", &shop.namespace);
    attempt(bash, None)
}

/// Whether an answer is as the page says: denied, with a warning, silent; or nothing in particular.
fn answers(attempt: &Attempt, answer: &str) -> Result<()> {
    let code = answer.split('`').nth(1);
    match code {
        Some(code) if answer.starts_with("denied") => attempt.is_refused(code, &[]),
        Some(code) if answer.contains("with the warning") => attempt.passes_with_warning(&[&format!("{code}: ")]),
        _ if answer.starts_with("passes") => attempt.passes_silently(),
        _ => attempt.succeeds(),
    }
}
