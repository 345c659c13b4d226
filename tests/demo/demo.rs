//! The demo: the blue-green story with real kubectl against a real control plane that flipguard guards.
//!
//! Each command is printed before its real output. Each verdict is checked, and the demo fails if it differs. With
//! `KEEP=1`, the control plane keeps running.

mod gate;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use controlplane::{Binaries, ControlPlane, Guard};

fn main() -> ExitCode {
    match demo() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nthe demo failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn demo() -> Result<()> {
    let flipguard = env::args_os().nth(1).map(PathBuf::from).context("give the path of the flipguard binary")?;
    let binaries = Binaries::ensure()?;
    let started = Instant::now();
    println!("Starting etcd, kube-apiserver, kube-controller-manager, kube-scheduler and kwok ...");
    let control_plane = ControlPlane::start(&binaries)?;
    println!("{}", control_plane.stage_table());
    println!("Applying `flipguard manifests`, starting `flipguard serve` ...");
    let guard = Guard::start(&control_plane, &flipguard, &[])?;
    println!("flipguard guards, {:.1} s after the start.", started.elapsed().as_secs_f64());

    let by_version = Story::new(&control_plane, "by-version", "version", "1.0", "2.0")?;
    by_version.tell()?;
    let by_colour = Story::new(&control_plane, "by-colour", "color", "blue", "green")?;
    by_colour.tell()?;
    gate::tell(&control_plane)?;
    heading(&format!("All as expected, after {:.0} s.", started.elapsed().as_secs_f64()));

    if env::var_os("KEEP").is_some_and(|keep| !keep.is_empty() && keep != "0") {
        let kubeconfig = control_plane.kubeconfig().to_owned();
        let kubectl = binaries.path("kubectl");
        let dir = control_plane.keep(&[guard.into_process()])?;
        println!("All is left running. Use it with\n");
        println!("  export KUBECONFIG='{}'", kubeconfig.display());
        println!("  {} get pods -A\n\nand end it with\n", kubectl.display());
        println!("  touch '{}/stop'", dir.display());
        return Ok(());
    }
    drop(guard);
    control_plane.stop()
}

/// An app with two colours.
struct Story<'a> {
    control_plane: &'a ControlPlane,
    flipguard: PathBuf,
    folder: PathBuf,
    namespace: &'static str,
    key: &'static str,
    one: &'static str,
    two: &'static str,
}

/// The expected verdict.
#[derive(Clone, Copy)]
enum Expect<'a> {
    Passes,
    Says(&'a [&'a str]),
    Refused { reason: &'a str, saying: &'a [&'a str] },
}

impl<'a> Story<'a> {
    fn new(
        control_plane: &'a ControlPlane,
        namespace: &'static str,
        key: &'static str,
        one: &'static str,
        two: &'static str,
    ) -> Result<Self> {
        let folder = control_plane.dir().join(namespace);
        fs::create_dir(&folder)?;
        let flipguard = env::args_os().nth(1).map(PathBuf::from).unwrap_or_default();
        let story = Self { control_plane, flipguard, folder, namespace, key, one, two };
        story.write("blue.yaml", &deployment("app-blue", key, one, "app:1.0", "ready"))?;
        story.write("green.yaml", &deployment("app-green", key, two, "app:2.0", "failing"))?;
        story.write("service-blue.yaml", &service("app", key, one, "http"))?;
        story.write("service-green.yaml", &service("app", key, two, "http"))?;
        story.write("service-admin.yaml", &service("app", key, one, "admin"))?;
        story.write("preview.yaml", &service("app-preview", key, two, "http"))?;
        Ok(story)
    }

    fn tell(&self) -> Result<()> {
        let Self { key, one, two, .. } = self;
        heading(&format!("The story with a selector `{key}: {one}` -> `{key}: {two}`"));
        self.runs("create a namespace", &["create", "namespace", self.namespace])?;
        self.runs("app:1.0 runs as app-blue, and the Service selects it", &["apply", "-f", "blue.yaml"])?;
        self.runs("", &["rollout", "status", "deployment/app-blue", "--timeout=60s"])?;
        self.runs("", &["apply", "-f", "service-blue.yaml"])?;

        self.runs("app:2.0 is deployed beside it, but its image cannot be pulled", &["apply", "-f", "green.yaml"])?;
        let waiting = "--for=jsonpath={.status.containerStatuses[0].state.waiting.reason}=ImagePullBackOff";
        let label = format!("{key}={two}");
        self.until_there(&["get", "pods", "-l", &label, "-o", "name"])?;
        self.runs("", &["wait", "pods", "-l", &label, waiting, "--timeout=60s"])?;
        let flip: &[&str] = &["apply", "-f", "service-green.yaml"];
        self.step(
            "flip to it: denied, since nothing would answer",
            flip,
            Expect::Refused {
                reason: "target-not-ready",
                saying: &["has 0 of 3 pods ready", "ImagePullBackOff", "describe pod app-green-"],
            },
        )?;
        self.runs("a preview Service may look at it all the same", &["apply", "-f", "preview.yaml"])?;
        let columns = "custom-columns=NAME:.metadata.name,COLOUR:.metadata.labels.color,VERSION:.metadata.labels.version,\
                       ADDED:.metadata.annotations.flipguard\\.dev/added-labels";
        self.step(
            "flipguard wrote the labels of the Deployments, by name, template and image",
            &["get", "deployments", "-o", columns],
            Expect::Says(&["app-blue    blue     1.0", "app-green   green    2.0"]),
        )?;

        let becomes = |state: &'static str| ["annotate", "pods", "--overwrite", "-l", &label, state].map(str::to_owned);
        let starting = becomes("kwok.flipguard.dev/pod=starting");
        self.runs_owned("the image can be pulled now: the pods start (kwok plays the kubelet)", &starting)?;
        self.runs("", &["wait", "pods", "-l", &label, "--for=jsonpath={.status.phase}=Running", "--timeout=60s"])?;
        self.step(
            "flip: still denied, they run but are not ready",
            flip,
            Expect::Refused { reason: "target-not-ready", saying: &["readiness probe not passed"] },
        )?;
        self.runs_owned("the pods become ready", &becomes("kwok.flipguard.dev/pod=ready"))?;
        self.runs("", &["rollout", "status", "deployment/app-green", "--timeout=60s"])?;
        self.runs("the same flip passes", flip)?;
        self.runs("and so does going back at once", &["apply", "-f", "service-blue.yaml"])?;
        self.step(
            "a port by a name that the pods do not have",
            &["apply", "-f", "service-admin.yaml"],
            Expect::Refused { reason: "port-unresolved", saying: &["port 80 targets `admin`", "declares http"] },
        )?;
        self.step(
            "a selector that is emptied would freeze the endpoints",
            &["patch", "service", "app", "--type=merge", "-p", r#"{"spec":{"selector":null}}"#],
            Expect::Refused { reason: "selector-emptied", saying: &["freezes the endpoints"] },
        )?;
        self.step(
            "app-blue carries the traffic now: it may not be scaled away",
            &["scale", "deployment/app-blue", "--replicas=0"],
            Expect::Refused {
                reason: "live-scaled-down",
                saying: &["would keep 0 of 3 ready pods; it needs 1", "Switch to Deployment app-green first"],
            },
        )?;
        self.step(
            "nor deleted",
            &["delete", "deployment", "app-blue"],
            Expect::Refused { reason: "live-deleted", saying: &["delete Service app first"] },
        )?;
        self.step(
            "nor get a new version in place: that goes to the idle colour",
            &["set", "image", "deployment/app-blue", "web=app:3.0"],
            Expect::Refused { reason: "live-redeployed", saying: &["Deploy it to Deployment app-green"] },
        )?;
        self.race()?;
        self.go_back()
    }

    /// The flip was a mistake: roll back, then delete the app.
    fn go_back(&self) -> Result<()> {
        let Self { key, one, .. } = self;
        self.runs(
            "a Service may ask to keep the colour before",
            &["annotate", "service", "app", "flipguard.dev/hold=10m"],
        )?;
        self.step(
            "so blue cannot be scaled away right after the flip",
            &["scale", "deployment/app-blue", "--replicas=0"],
            Expect::Refused {
                reason: "held-scaled-down",
                saying: &["Service app switched away from this Deployment", "for a quick rollback"],
            },
        )?;
        let pod =
            self.output(&["get", "pods", "-l", &format!("{key}={one}"), "-o=jsonpath={.items[0].metadata.name}"])?;
        let lost = ["annotate", "pod", &pod, "--overwrite", "kwok.flipguard.dev/pod=starting"].map(str::to_owned);
        self.runs_owned("green turns out bad; and one pod of blue is not ready just now", &lost)?;
        self.runs("", &["wait", "--for=jsonpath={.status.readyReplicas}=2", "deployment/app-blue", "--timeout=60s"])?;
        self.runs(
            "going back passes at once: blue has served, so half of it is enough",
            &["apply", "-f", "service-blue.yaml"],
        )?;
        self.history("who did that? the history says so, and the API server's audit log agrees", "rollback")?;
        self.runs("and ends the hold: the idle colour is free", &["scale", "deployment/app-green", "--replicas=1"])?;
        self.step(
            "taking the app down: the Service first, then its pods",
            &["delete", "service", "app", "app-preview"],
            Expect::Says(&["service-deleted: 2 pods got traffic through it"]),
        )?;
        self.runs("", &["delete", "deployment", "app-blue", "app-green"])
    }

    /// The history shows what is expected a moment later, and its chain holds.
    fn history(&self, says: &str, shows: &str) -> Result<()> {
        println!("\n# {says}");
        let log = self.control_plane.dir().join("audit.log");
        println!("$ flipguard history -n {} --verify --audit-log audit.log", self.namespace);
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let mut look = std::process::Command::new(&self.flipguard);
            look.args(["history", "-n", self.namespace, "--verify", "--audit-log"]).arg(&log);
            let output = look.env("KUBECONFIG", self.control_plane.kubeconfig()).output()?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            if output.status.success() && text.contains(shows) {
                println!("{}", text.trim_end());
                return Ok(());
            }
            let all = format!("{text}{}", String::from_utf8_lossy(&output.stderr));
            ensure!(Instant::now() < deadline, "the history does not have `{shows}`:\n{all}");
            sleep(Duration::from_millis(200));
        }
    }

    /// Two requests at once, each harmless alone. Together they would leave the Service without a Pod.
    fn race(&self) -> Result<()> {
        println!("\n# at the same moment, one flips to green and another scales green away; either is fine by itself");
        let flip = ["apply", "-f", "service-green.yaml"];
        let scale = ["scale", "deployment/app-green", "--replicas=0"];
        println!(
            "$ kubectl -n {} {} &\n$ kubectl -n {} {} &",
            self.namespace,
            flip.join(" "),
            self.namespace,
            scale.join(" ")
        );
        let start = |args: &[&str]| {
            let mut kubectl = self.kubectl(args);
            kubectl.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("cannot run kubectl")
        };
        let (flip, scale) = (start(&flip)?, start(&scale)?);
        let (flip, scale) = (flip.wait_with_output()?, scale.wait_with_output()?);
        for output in [&flip, &scale] {
            let text =
                format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            println!("{}", text.trim_end());
        }
        ensure!(
            flip.status.success() != scale.status.success(),
            "one of the two should pass, and the other be refused"
        );
        println!("  -> one of them passes, and the other is told why not");
        if scale.status.success() {
            self.runs("here green went first; it comes back", &["scale", "deployment/app-green", "--replicas=3"])?;
            // The template says that its Pods fail. At the start of the story, they were made ready one by one.
            let label = format!("{}={}", self.key, self.two);
            self.until_there(&["get", "pods", "-l", &label, "-o=jsonpath={.items[2].metadata.name}"])?;
            self.output(&["annotate", "pods", "--overwrite", "-l", &label, "kwok.flipguard.dev/pod=ready"])?;
            self.runs("", &["rollout", "status", "deployment/app-green", "--timeout=60s"])?;
            self.runs("and gets the traffic", &["apply", "-f", "service-green.yaml"])?;
        }
        Ok(())
    }

    /// The output of a command.
    fn output(&self, args: &[&str]) -> Result<String> {
        let output = self.kubectl(args).output().context("cannot run kubectl")?;
        ensure!(output.status.success(), "kubectl {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn runs_owned(&self, says: &str, args: &[String]) -> Result<()> {
        self.runs(says, &args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn runs(&self, says: &str, args: &[&str]) -> Result<()> {
        self.step(says, args, Expect::Passes)
    }

    /// Prints the expectation, the command and its real output, and compares them.
    fn step(&self, says: &str, args: &[&str], expect: Expect<'_>) -> Result<()> {
        if !says.is_empty() {
            println!("\n# {says}");
        }
        println!("$ kubectl -n {} {}", self.namespace, args.join(" "));
        let output = self.kubectl(args).output().context("cannot run kubectl")?;
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        println!("{}", text.trim_end());
        match expect {
            Expect::Passes => ensure!(output.status.success(), "this should pass"),
            Expect::Says(saying) => {
                ensure!(output.status.success(), "this should pass");
                if let Some(words) = saying.iter().find(|words| !text.contains(**words)) {
                    bail!("it should say `{words}`");
                }
            }
            Expect::Refused { reason, saying } => {
                ensure!(!output.status.success(), "this should be refused");
                let missing = [reason].into_iter().chain(saying.iter().copied()).find(|words| !text.contains(words));
                if let Some(words) = missing {
                    bail!("the refusal should say `{words}`");
                }
                println!("  -> refused, as it should be: {reason}");
            }
        }
        Ok(())
    }

    /// Waits until a `get` prints something. `kubectl wait` would fail on an object that does not exist yet.
    fn until_there(&self, args: &[&str]) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.kubectl(args).output()?.stdout.is_empty() {
            ensure!(Instant::now() < deadline, "nothing came of `kubectl {}`", args.join(" "));
            sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    fn kubectl(&self, args: &[&str]) -> std::process::Command {
        let mut kubectl = self.control_plane.kubectl();
        kubectl.args(["-n", self.namespace]).args(args).current_dir(&self.folder).stdin(Stdio::null());
        kubectl
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        fs::write(Path::new(&self.folder).join(name), text).with_context(|| format!("cannot write {name}"))
    }
}

fn heading(text: &str) {
    println!("\n=== {text}");
}

fn service(name: &str, key: &str, value: &str, port: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\nspec:\n  selector:\n    app: app\n    {key}: \"{value}\"\n  \
         ports:\n  - port: 80\n    targetPort: {port}\n"
    )
}

fn deployment(name: &str, key: &str, value: &str, image: &str, pods: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {name}\nspec:\n  replicas: 3\n  selector:\n    \
         matchLabels:\n      app: app\n      {key}: \"{value}\"\n  template:\n    metadata:\n      labels:\n        \
         app: app\n        {key}: \"{value}\"\n      annotations:\n        kwok.flipguard.dev/pod: {pods}\n    \
         spec:\n      containers:\n      - name: web\n        image: {image}\n        ports:\n        - \
         name: http\n          containerPort: 8080\n        readinessProbe:\n          httpGet: {{port: 8080}}\n"
    )
}
