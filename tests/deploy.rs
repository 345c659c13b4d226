//! The manifests in `deploy/` are the same as those of the binary.

use std::error::Error;
use std::path::Path;
use std::process::Command;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn printed(args: &[&str]) -> Result<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_flipguard")).args(args).output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

fn read(path: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    Ok(std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?)
}

#[test]
fn the_base_is_fresh() -> Result<()> {
    let fresh = read("deploy/base/flipguard.yaml")? == printed(&["manifests"])?;
    assert!(fresh, "deploy/base/flipguard.yaml is stale; run: make docs");
    Ok(())
}

#[test]
fn the_charts_rights_are_fresh() -> Result<()> {
    let rights = printed(&["manifests", "--only-rights", "--namespace", "{{ .Release.Namespace }}"])?;
    assert!(
        read("deploy/helm/flipguard/templates/rbac.yaml")? == rights,
        "the chart's rbac.yaml is stale; run: make docs"
    );
    Ok(())
}

#[test]
fn the_versions_agree() -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let chart = read("deploy/helm/flipguard/Chart.yaml")?;
    assert!(chart.contains(&format!("\nversion: {version}\nappVersion: \"{version}\"\n")), "{chart}");
    let (major, minor) = flipguard::cluster::connect::OLDEST;
    let oldest = format!("{major}.{minor}");
    assert!(chart.contains(&format!("kubeVersion: \">={oldest}.0-0\"")), "{chart}");
    for document in ["README.md", "docs/operations.md"] {
        let words = read(document)?.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(&format!("Kubernetes {oldest} or newer")), "{document} names another oldest Kubernetes");
    }
    Ok(())
}

/// Nothing that is a verb or a resource of its own is granted by a pattern, and nothing may touch a user's object.
#[test]
fn rights_have_nothing_to_spare() -> Result<()> {
    let rights = printed(&["manifests", "--only-rights"])?;
    assert!(!rights.contains("'*'") && !rights.contains("\"*\""), "{rights}");
    let (cluster, own) = rights.split_once("kind: Role\n").ok_or("no Role")?;
    for verb in ["update", "delete", "deletecollection", "watch", "escalate", "bind", "impersonate"] {
        assert!(!cluster.contains(&format!("- {verb}\n")), "cluster-wide: {verb}");
    }
    assert!(own.contains("- flipguard-keeper\n"));
    Ok(())
}

/// `serve --certificates` accepts the files of the script.
#[test]
fn the_scripts_certificates_can_be_served() -> Result<()> {
    if !Command::new("openssl").arg("version").output().is_ok_and(|output| output.status.success()) {
        assert!(std::env::var_os("CI").is_none(), "openssl is not installed");
        eprintln!("skipped: openssl is not installed");
        return Ok(());
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("certs");
    drop(std::fs::remove_dir_all(&folder));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs/make.sh");
    let make = |names: &[&str]| -> Result<()> {
        let output = Command::new(&script).arg(&folder).args(names).output()?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    };
    let read = |name: &str| {
        let now = time::OffsetDateTime::now_utc() + time::Duration::minutes(1);
        flipguard::certs::files::Files::of(&folder).read(name, "token", now)
    };
    make(&[])?;
    let first = read("flipguard.flipguard-system.svc")?;
    assert!(read("guard.example").is_err());
    make(&["guard.example", "192.0.2.7"])?;
    let second = read("guard.example")?;
    read("192.0.2.7")?;
    assert_eq!(first.bundle, second.bundle, "the authority stays");
    Ok(())
}
