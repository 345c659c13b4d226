//! The image: its last stage, built with buildah and run behind its own Service, as in a cluster.

use std::ffi::OsString;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use controlplane::{as_yaml, free_port};
use serde_json::Value;

use super::shop::{BLUE, GREEN, Pods, Shop, attempt, service};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const OWN: &str = "flipguard-system";
const IMAGE: &str = "flipguard-under-test";

/// The reason why images cannot be built here; `None` if they can.
pub(crate) fn cannot_build() -> Option<&'static str> {
    let path = path_with_tools();
    let there = |program: &str| std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    let all = ["buildah", "cargo-auditable", "rust-audit-info"].into_iter().all(there);
    // With CI set, every test must run, and be red where it cannot.
    if all || std::env::var_os("CI").is_some() {
        None
    } else {
        Some("buildah, cargo-auditable or rust-audit-info is not installed (tests/tools)")
    }
}

/// The PATH, with the folder of tests/tools before it.
fn path_with_tools() -> OsString {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| std::env::home_dir().map(|home| home.join(".cache"))).unwrap_or_default();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(cache.join("flipguard/tools/bin")).chain(std::env::split_paths(&path));
    std::env::join_paths(folders).unwrap_or_default()
}

/// buildah with a store of its own, which is emptied at the end.
struct Store(PathBuf);

impl Store {
    fn buildah(&self, args: &[&str]) -> Command {
        let mut command = Command::new("buildah");
        command.args(["--storage-driver", "vfs", "--root"]).arg(self.0.join("root"));
        command.arg("--runroot").arg(self.0.join("run")).args(args);
        command
    }

    fn says(&self, args: &[&str]) -> Result<String> {
        let said = attempt(self.buildah(args), None)?;
        said.succeeds()?;
        Ok(said.out.trim().to_owned())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = attempt(self.buildah(&["rm", "--all"]), None);
        let _ = attempt(self.buildah(&["rmi", "--all", "--force"]), None);
    }
}

/// A statically linked flipguard with the list of its packages. It is built in the target folder, so only changed crates
/// are rebuilt.
fn static_binary() -> Result<PathBuf> {
    let target = Path::new(env!("CARGO_BIN_EXE_flipguard")).parent().and_then(Path::parent).context("no target")?;
    let folder = target.join("static");
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(ROOT).env("RUSTFLAGS", "-C target-feature=+crt-static").env("PATH", path_with_tools());
    // Only here are the dependencies built for this target, so they are not optimised.
    cargo.args(["auditable", "build", "--config", "profile.dev.package.\"*\".opt-level=0"]);
    cargo.args(["--quiet", "--locked", "--bin", "flipguard", "--target", &triple, "--target-dir"]).arg(&folder);
    attempt(cargo, None)?.succeeds()?;
    Ok(folder.join(triple).join("debug").join("flipguard"))
}

/// A scanner finds the packages of the image: the binary holds their list.
fn names_its_packages(binary: &Path) -> Result<()> {
    let mut reader = Command::new("env");
    reader.env("PATH", path_with_tools()).arg("rust-audit-info").arg(binary);
    let list = attempt(reader, None)?;
    list.succeeds()?;
    let list: Value = serde_json::from_str(&list.out)?;
    let packages = list.get("packages").and_then(Value::as_array).context("no packages")?;
    let has = |name: &str, version: Option<&str>| {
        packages.iter().any(|package| {
            let text = |key: &str| package.get(key).and_then(Value::as_str);
            text("name") == Some(name) && version.is_none_or(|version| text("version") == Some(version))
        })
    };
    ensure!(has("flipguard", Some(env!("CARGO_PKG_VERSION"))) && has("rustls", None), "{list:#}");
    ensure!(packages.len() > 100, "{} packages", packages.len());
    Ok(())
}

pub(crate) fn guards_from_within(shop: &Shop) -> Result<()> {
    let folder = shop.control_plane.dir().join("image");
    let context = folder.join("context");
    std::fs::create_dir_all(&context)?;
    let binary = static_binary()?;
    names_its_packages(&binary)?;
    std::fs::copy(binary, context.join("flipguard"))?;
    // The unchanged last stage, with a binary built outside. No base image has to be pulled.
    let dockerfile = std::fs::read_to_string(Path::new(ROOT).join("Dockerfile"))?;
    let last = dockerfile.rfind("\nFROM scratch\n").context("the last stage of the Dockerfile is not from scratch")?;
    let (_, last) = dockerfile.split_at(last);
    std::fs::write(
        context.join("Dockerfile"),
        format!("FROM scratch AS binary\nCOPY flipguard /out/flipguard\n{last}"),
    )?;

    let store = Store(folder);
    let context = context.to_string_lossy();
    store.says(&["bud", "--quiet", "--isolation", "chroot", "--tag", IMAGE, &context])?;
    let config = "{{.OCIv1.Config.User}} {{.OCIv1.Config.Entrypoint}} {{.OCIv1.Config.Cmd}}";
    let config = store.says(&["inspect", "--type", "image", "--format", config, IMAGE])?;
    ensure!(config == "65532:65532 [/flipguard] [serve]", "{config}");
    let labels = "{{range $key, $value := .OCIv1.Config.Labels}}{{$key}}={{$value}} {{end}}";
    let labels = store.says(&["inspect", "--type", "image", "--format", labels, IMAGE])?;
    for label in ["title=flipguard", "licenses=Apache-2.0", concat!("version=", env!("CARGO_PKG_VERSION"))] {
        ensure!(format!("{labels} ").contains(&format!("org.opencontainers.image.{label} ")), "{labels}");
    }
    let container = store.says(&["from", IMAGE])?;
    let version = store.says(&["run", "--isolation", "chroot", &container, "--", "/flipguard", "version"])?;
    ensure!(version == format!("flipguard {}", env!("CARGO_PKG_VERSION")), "{version}");

    serves_behind_its_service(shop, &store, &container)
}

/// No kubelet runs here. The test does its part: it mounts the token and writes the endpoint of the Pod.
fn serves_behind_its_service(shop: &Shop, store: &Store, container: &str) -> Result<()> {
    // The API server calls an endpoint of the Service, which may not be a loopback address.
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    if socket.connect("192.0.2.1:9").is_err() {
        eprintln!("image: this machine has no address but loopback, so nothing can be called behind a Service");
        return Ok(());
    }
    let address = socket.local_addr()?.ip();
    let (port, status) = (free_port()?, free_port()?);
    shop.without_the_guard()?;
    let base = format!("{ROOT}/deploy/base");
    shop.plain_kubectl(&["delete", "-k", &base, "--ignore-not-found", "--timeout=90s"])?.succeeds()?;
    shop.plain_kubectl(&["apply", "-k", &base])?.passes_silently()?;
    // kwok's Pods would also be endpoints, but nothing listens there.
    shop.plain_kubectl(&["-n", OWN, "scale", "deployment/flipguard", "--replicas=0"])?.succeeds()?;
    shop.until("kwok's Pods are gone", || {
        Ok(shop.plain_kubectl(&["-n", OWN, "get", "pods", "--no-headers"])?.out.is_empty())
    })?;
    // Before 1.33, the API server finds the endpoints of a webhook in Endpoints.
    let endpoints = format!(
        "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, \
         metadata: {{name: by-hand, namespace: {OWN}, labels: {{kubernetes.io/service-name: flipguard}}}}, \
         ports: [{{name: reviews, port: {port}, protocol: TCP}}], \
         endpoints: [{{addresses: ['{address}'], conditions: {{ready: true}}}}]}}\n---\n\
         {{apiVersion: v1, kind: Endpoints, metadata: {{name: flipguard, namespace: {OWN}}}, \
         subsets: [{{addresses: [{{ip: '{address}'}}], ports: [{{name: reviews, port: {port}, protocol: TCP}}]}}]}}\n"
    );
    let endpoints_file = shop.control_plane.dir().join("endpoints.yaml");
    std::fs::write(&endpoints_file, as_yaml(&endpoints))?;

    let mounted = store.0.join("serviceaccount");
    std::fs::create_dir(&mounted)?;
    let token = shop.plain_kubectl(&["-n", OWN, "create", "token", "flipguard", "--duration=1h"])?;
    token.succeeds()?;
    std::fs::write(mounted.join("token"), token.out.trim())?;
    std::fs::write(mounted.join("namespace"), OWN)?;
    std::fs::write(mounted.join("ca.crt"), shop.control_plane.ca_pem())?;
    let volume = format!("{}:/var/run/secrets/kubernetes.io/serviceaccount:ro", mounted.display());
    let api = shop.control_plane.url();
    let api_port = api.rsplit(':').next().context("no port")?;
    let mut run = store.buildah(&["run", "--isolation", "chroot", "--volume", &volume]);
    run.args(["--env", "KUBERNETES_SERVICE_HOST=127.0.0.1", "--env", &format!("KUBERNETES_SERVICE_PORT={api_port}")]);
    run.args([container, "--", "/flipguard", "serve", &format!("--listen=[::]:{port}")]);
    run.args([&format!("--status-listen=127.0.0.1:{status}"), "--ca-propagation=300ms", "--drain=0s"]);
    let process = shop.control_plane.spawn("flipguard-image", run)?;
    let log = || std::fs::read_to_string(process.log_path()).unwrap_or_default();
    let waits = "not registered: the API server does not reach flipguard";
    shop.until("flipguard waits until it is reached", || {
        process.ensure_running()?;
        Ok(log().contains(waits))
    })?;
    let webhooks =
        ["get", "validatingwebhookconfiguration", "flipguard", "-o=jsonpath={.webhooks[0].clientConfig.service.port}"];
    let names = ["get", "validatingwebhookconfiguration", "flipguard", "-o=jsonpath={.webhooks[*].name}"];
    ensure!(
        shop.plain_kubectl(&names)?.out == "probe.flipguard.dev",
        "the webhooks are registered before flipguard can be called"
    );

    shop.deploy_ready("app-blue", BLUE, 1)?;
    shop.deploy("app-green", GREEN, 1, Pods::Starting)?;
    shop.route("app", BLUE)?.passes_silently()?;
    let file = endpoints_file.to_string_lossy();
    shop.plain_kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &file])?.succeeds()?;
    let guards = shop.until("flipguard guards behind its own Service", || {
        process.ensure_running()?;
        Ok(shop.apply_with(&service("app", GREEN), &["--dry-run=server"])?.err.contains("target-not-ready"))
    });
    guards.with_context(|| process.log_tail())?;
    shop.route("app", GREEN)?.is_refused("target-not-ready", &[])?;
    ensure!(shop.plain_kubectl(&webhooks)?.out == "443");
    let mut doctor = Command::new(env!("CARGO_BIN_EXE_flipguard"));
    doctor.args(["doctor", "--kubeconfig"]).arg(shop.control_plane.kubeconfig());
    let doctor = attempt(doctor, None)?;
    doctor.says("ok       called        the API server calls flipguard, and gets an answer")?;
    doctor.says("ok       registration ")?;
    process.terminate()?;
    ensure!(process.wait(std::time::Duration::from_secs(30)).is_some(), "flipguard does not end on SIGTERM");
    Ok(())
}
