//! The binaries of the control plane. Missing ones are built once.

use std::{
    env,
    fs::{self, File, TryLockError},
    io::ErrorKind,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    go_modules::{ARGO_CD, DEFAULT_VERSION, FLUX, GO_MODULES, GoModule, HELM, KUBERNETES, ModuleFile, Program},
    process::Process,
    watchdog::Watchdog,
};

/// kube-apiserver, kube-controller-manager, kube-scheduler, kubectl, etcd and kwok; and Helm, if asked for.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// `KUBEBUILDER_ASSETS`: the user's own binaries take precedence.
    assets: Option<PathBuf>,
    /// The cache. Each module has its own folder there, so a new version of one does not rebuild the others.
    root: PathBuf,
    kubernetes: &'static GoModule,
}

impl Binaries {
    /// Finds the binaries in the folder `KUBEBUILDER_ASSETS` (the envtest convention), if it is set, or else in the
    /// cache `$XDG_CACHE_HOME/flipguard/controlplane`. Missing binaries are built into the cache with Go, with the
    /// progress on stderr. The first build takes about eight minutes on two cores. `KUBERNETES` chooses another version of
    /// Kubernetes, such as `1.30`.
    ///
    /// # Errors
    /// When a binary is missing and cannot be built, or the version is not known.
    pub fn ensure() -> Result<Self> {
        let assets = match env::var_os("KUBEBUILDER_ASSETS").filter(|folder| !folder.is_empty()) {
            Some(folder) => Some(
                fs::canonicalize(&folder)
                    .with_context(|| format!("KUBEBUILDER_ASSETS is set to {}", folder.to_string_lossy()))?,
            ),
            None => None,
        };
        let binaries = Self { assets, root: cache_root()?, kubernetes: chosen()? };
        let all = GO_MODULES.iter().chain([binaries.kubernetes]);
        all.into_iter().try_for_each(|module| binaries.build_if_missing(module))?;
        Ok(binaries)
    }

    /// Builds `helm` too, which the control plane itself does not need. The first build takes about two minutes.
    ///
    /// # Errors
    /// When `helm` is missing and cannot be built.
    pub fn with_helm(self) -> Result<Self> {
        self.build_if_missing(&HELM)?;
        Ok(self)
    }

    /// Builds Argo CD and Flux's kustomize-controller too, which only the tests with real GitOps controllers need. The first
    /// build takes about eight minutes.
    ///
    /// # Errors
    /// When one is missing and cannot be built.
    pub fn with_gitops(self) -> Result<Self> {
        self.build_if_missing(&ARGO_CD)?;
        self.build_if_missing(&FLUX)?;
        Ok(self)
    }

    /// The path of the binary or file `name`, such as `kubectl`.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        let own = self.assets.as_ref().map(|folder| folder.join(name)).filter(|path| path.is_file());
        let built = || {
            GoModule::of(name, self.kubernetes)
                .map_or_else(|| self.root.join(name), |module| self.cache(module).join(name))
        };
        own.unwrap_or_else(built)
    }

    fn cache(&self, module: &GoModule) -> PathBuf {
        self.root.join(module.cache_key())
    }

    fn missing(&self, module: &'static GoModule) -> Vec<&'static str> {
        module.names().filter(|name| !self.path(name).is_file()).collect()
    }

    /// Builds the missing binaries of `module`, unless another run has just built them.
    fn build_if_missing(&self, module: &'static GoModule) -> Result<()> {
        if self.missing(module).is_empty() {
            return Ok(());
        }
        let cache = self.cache(module);
        fs::create_dir_all(&cache).with_context(|| format!("cannot create {}", cache.display()))?;
        let path = self.root.join("lock");
        let lock = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                eprintln!("controlplane: another run is building; waiting for it ({})", path.display());
                lock.lock().with_context(|| format!("cannot lock {}", path.display()))?;
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
        let missing = self.missing(module);
        if missing.is_empty() {
            return Ok(());
        }
        if let Some(assets) = &self.assets {
            eprintln!("controlplane: not in KUBEBUILDER_ASSETS ({}): {}", assets.display(), missing.join(", "));
        }
        build(module, &missing, &self.root, &cache)
        // The lock is released with its file.
    }
}

/// The version of Kubernetes that `KUBERNETES` chooses, such as `v1.36.3`.
///
/// # Errors
/// When it is not known.
pub fn kubernetes_version() -> Result<&'static str> {
    Ok(chosen()?.name.trim_start_matches("Kubernetes "))
}

/// The module of the version that `KUBERNETES` names.
fn chosen() -> Result<&'static GoModule> {
    let version = env::var("KUBERNETES").ok().filter(|version| !version.is_empty());
    let version = version.as_deref().unwrap_or(DEFAULT_VERSION);
    let known = KUBERNETES.iter().map(|(minor, _)| *minor).collect::<Vec<_>>().join(", ");
    GoModule::of_kubernetes(version).with_context(|| format!("KUBERNETES is `{version}`; it must be one of {known}"))
}

fn cache_root() -> Result<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute());
    let cache = cache.or_else(|| env::home_dir().map(|home| home.join(".cache")));
    let cache = cache.context("no cache folder: neither XDG_CACHE_HOME nor HOME is set")?;
    Ok(cache.join("flipguard").join("controlplane"))
}

/// Builds in a temporary folder and moves the results, so an interrupted build leaves no partial files.
fn build(module: &GoModule, missing: &[&str], root: &Path, cache: &Path) -> Result<()> {
    ensure_go()?;
    let began = Instant::now();
    eprintln!("controlplane: building {} ({}); {}", module.name, missing.join(", "), module.usual_time);
    let programs: Vec<&Program> = module.programs.iter().filter(|program| missing.contains(&program.name)).collect();

    let watchdog = Arc::new(Watchdog::start()?);
    let folder = tempfile::Builder::new()
        .prefix("build-")
        .tempdir_in(root)
        .with_context(|| format!("cannot create a folder in {}", root.display()))?;
    watchdog.remove(folder.path())?;
    let (source, scratch, built) =
        (folder.path().join("source"), folder.path().join("scratch"), folder.path().join("built"));
    for subfolder in [&source, &scratch, &built] {
        fs::create_dir(subfolder).with_context(|| format!("cannot create {}", subfolder.display()))?;
    }
    fs::write(source.join("go.mod"), module.go_mod).context("cannot write go.mod")?;
    fs::write(source.join("go.sum"), module.go_sum).context("cannot write go.sum")?;

    for file in module.files {
        copy(file, &source, cache)?;
    }
    if programs.is_empty() {
        return Ok(());
    }
    let mut go = Command::new("go");
    go.current_dir(&source)
        .args(["build", "-trimpath", "-ldflags", &format!("-s -w {}", module.versions), "-o"])
        .arg(&built)
        .args(programs.iter().map(|program| program.package))
        .env("CGO_ENABLED", "0")
        // A Go workspace around the cache folder must not apply.
        .env("GOWORK", "off")
        .env("GOTMPDIR", &scratch);
    let go = Process::spawn(&watchdog, "go build", go, folder.path().join("log"))?;
    let status = loop {
        match go.wait(Duration::from_secs(15)) {
            Some(status) => break status,
            None => eprintln!("controlplane: still building {}: {} s", module.name, began.elapsed().as_secs()),
        }
    };
    ensure!(
        status.success(),
        "cannot build {} ({status}); the end of what go build said:\n{}",
        module.name,
        go.log_tail()
    );
    for program in programs {
        // `go build -o FOLDER` names the binary after the package.
        let (from, to) = (built.join(program.built_as), cache.join(program.name));
        fs::rename(&from, &to).with_context(|| format!("cannot move {} to {}", from.display(), to.display()))?;
    }
    eprintln!("controlplane: built {} in {} s", module.name, began.elapsed().as_secs());
    Ok(())
}

/// Copies a file of a module, which Go downloads.
fn copy(file: &ModuleFile, source: &Path, cache: &Path) -> Result<()> {
    let mut go = Command::new("go");
    go.current_dir(source).args(["mod", "download", "-json", file.module]).env("GOWORK", "off");
    ensure!(go.output().context("cannot run go")?.status.success(), "cannot download {}", file.module);
    let mut go = Command::new("go");
    go.current_dir(source).args(["list", "-m", "-f", "{{.Dir}}", file.module]).env("GOWORK", "off");
    let found = go.output().context("cannot run go")?;
    let folder = String::from_utf8(found.stdout).context("the folder of a module is no text")?;
    let (from, to) = (Path::new(folder.trim()).join(file.path), cache.join(file.name));
    let text = fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
    // The files of a module are read-only.
    fs::write(&to, text).with_context(|| format!("cannot write {}", to.display()))
}

fn ensure_go() -> Result<()> {
    let asked = Command::new("go").arg("version").stdin(Stdio::null()).output();
    match asked {
        Ok(output) => {
            ensure!(output.status.success(), "go version fails: {}", String::from_utf8_lossy(&output.stderr).trim());
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => bail!(
            "the control plane is built once with Go, and no `go` is on the PATH: install Go 1.26 or newer \
             (https://go.dev/dl), or set KUBEBUILDER_ASSETS to a folder with the binaries"
        ),
        Err(error) => Err(error).context("cannot run go"),
    }
}
