//! Command lines that cannot work, and `check` on a real export.

use std::process::Command;

use anyhow::{Result, ensure};

use super::Test;
use super::shop::{Attempt, BLUE, GREEN, Pods, Shop, attempt, service};

pub(crate) const TESTS: &[Test] = &[
    ("commands::serve_on_a_port_in_use", serve_on_a_port_in_use),
    ("commands::check_judges_an_export_like_the_webhook", check_judges_an_export_like_the_webhook),
];

fn flipguard(args: &[&str]) -> Result<Attempt> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flipguard"));
    command.args(args);
    attempt(command, None)
}

fn fails_in_one_line(attempt: &Attempt, words: &[&str]) -> Result<()> {
    ensure!(!attempt.ok, "it should fail");
    ensure!(attempt.err.trim().lines().count() == 1, "it should say one line:\n{}", attempt.err);
    words.iter().try_for_each(|words| attempt.says(words))
}

fn serve_on_a_port_in_use(shop: &Shop) -> Result<()> {
    let kubeconfig = shop.guard.kubeconfig().to_string_lossy();
    let taken = shop.guard.listen().to_string();
    let url = format!("https://{taken}");
    let serve = flipguard(&["serve", "--kubeconfig", &kubeconfig, "--external-url", &url, "--listen", &taken])?;
    fails_in_one_line(&serve, &[&format!("cannot listen on {taken} (--listen)"), "choose another address"])
}

fn check_judges_an_export_like_the_webhook(shop: &Shop) -> Result<()> {
    shop.deploy_ready("app-blue", BLUE, 1)?;
    shop.deploy("app-green", GREEN, 2, Pods::Failing("ImagePullBackOff"))?;
    shop.route("app", BLUE)?.succeeds()?;
    shop.wait_for_pods("name=app-green", 2, "ImagePullBackOff")?;
    let folder = shop.control_plane.dir().join(&shop.namespace);
    std::fs::create_dir(&folder)?;
    let change = folder.join("change.yaml");
    std::fs::write(&change, service("app", GREEN))?;
    let change = change.to_string_lossy();
    for format in ["yaml", "json"] {
        let export = shop.kubectl(&["get", "svc,deploy,sts,ds,rs,pods", "-o", format])?;
        let cluster = folder.join(format!("cluster.{format}"));
        std::fs::write(&cluster, export.out)?;
        let check =
            flipguard(&["check", "-f", &change, "--cluster", &cluster.to_string_lossy(), "-n", &shop.namespace])?;
        ensure!(!check.ok);
        check.says("denied: ")?;
        check.says("(target-not-ready): Deployment app-green has 0 of 2 pods ready (app-green-")?;
    }
    let without_pods = shop.kubectl(&["get", "svc,deploy", "-o", "yaml"])?;
    let cluster = folder.join("cluster.yaml");
    std::fs::write(&cluster, without_pods.out)?;
    let check = flipguard(&["check", "-f", &change, "--cluster", &cluster.to_string_lossy(), "-n", &shop.namespace])?;
    check.says("cannot read")?;
    check.says("the files hold none. Export all: kubectl -n")
}
