//! A smoke test of the control plane, from start to end. The first build of its binaries takes minutes. `controlplane
//! build` shows the progress, which a test runner would hide.

use std::{
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use controlplane::{Binaries, ControlPlane};

const DEPLOYMENT: &str = r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"replicas":3,
  "selector":{"matchLabels":{"app":"web"}},"template":{"metadata":{"labels":{"app":"web"},"annotations":{
  "kwok.flipguard.dev/pod":"failing","kwok.flipguard.dev/reason":"ErrImagePull"}},
  "spec":{"containers":[{"name":"web","image":"web:1.0"}]}}}}"#;

fn run(mut kubectl: Command, args: &[&str]) -> Result<String> {
    let output = kubectl.args(args).output()?;
    ensure!(output.status.success(), "kubectl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn wait_until(what: &str, holds: impl Fn() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds()? {
        ensure!(Instant::now() < deadline, "not within 20 s: {what}");
        sleep(Duration::from_millis(100));
    }
    Ok(())
}

#[test]
fn pods_do_what_their_annotations_say_and_the_end_leaves_nothing() -> Result<()> {
    let control_plane = ControlPlane::start(&Binaries::ensure()?)?;
    eprint!("{}", control_plane.stage_table());
    let kubectl = |args: &[&str]| run(control_plane.kubectl(), args);

    let manifest = control_plane.dir().join("web.json");
    std::fs::write(&manifest, DEPLOYMENT)?;
    kubectl(&["apply", "-f", manifest.to_str().context("a path in UTF-8")?])?;
    let annotate = |value: &str| {
        kubectl(&["annotate", "--overwrite", "pod", "-l", "app=web", &format!("kwok.flipguard.dev/pod={value}")])
    };
    let counts = || kubectl(&["get", "deployment", "web", "-o", "jsonpath={.status.replicas}/{.status.readyReplicas}"]);
    let states =
        |path: &str| kubectl(&["get", "pod", "-l", "app=web", "-o", &format!("jsonpath={{.items[*].status.{path}}}")]);

    wait_until("failing", || {
        Ok(states("containerStatuses[0].state.waiting.reason")? == "ErrImagePull ErrImagePull ErrImagePull")
    })?;
    annotate("starting")?;
    wait_until("starting", || Ok(states("phase")? == "Running Running Running"))?;
    assert_eq!(counts()?, "3/", "started is not ready");
    annotate("ready")?;
    wait_until("ready", || Ok(counts()? == "3/3"))?;
    annotate("starting")?;
    wait_until("unready again", || Ok(counts()? == "3/"))?;

    let kubeconfig = control_plane.client_kubeconfig("ann:dev", &["shop", "testers"])?;
    let mut whoami = control_plane.kubectl();
    whoami.arg("--kubeconfig").arg(&kubeconfig);
    let who = run(whoami, &["auth", "whoami", "-o", "jsonpath={.status.userInfo.username} {.status.userInfo.groups}"])?;
    assert_eq!(who, r#"ann:dev ["shop","testers","system:authenticated"]"#);
    assert!(control_plane.client_kubeconfig("ann", &["a", "b", "c"]).is_err(), "three groups do not fit");

    let mut sleeper = Command::new("sleep");
    sleeper.arg("60");
    let sleeper = control_plane.spawn("sleeper", sleeper)?;
    assert!(sleeper.is_running());
    drop(sleeper);

    let dir = control_plane.dir().to_owned();
    let began = Instant::now();
    control_plane.stop()?;
    eprintln!("stopped in {:.2} s", began.elapsed().as_secs_f64());
    assert!(!dir.exists());
    Ok(())
}
