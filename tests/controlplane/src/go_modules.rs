//! The Go modules of the binaries. Their `go.mod` and `go.sum` are embedded in this crate. So a build is the same
//! everywhere, and needs no source tree at run time.

/// One of the Go modules.
#[derive(Debug)]
pub(crate) struct GoModule {
    pub(crate) name: &'static str,
    pub(crate) go_mod: &'static str,
    pub(crate) go_sum: &'static str,
    /// Linker flags that set the reported versions of the binaries.
    pub(crate) versions: &'static str,
    pub(crate) programs: &'static [Program],
    /// Files that are taken from a module as they are.
    pub(crate) files: &'static [ModuleFile],
    /// The time of a build with an empty Go build cache, on two cores.
    pub(crate) usual_time: &'static str,
}

/// A binary and its Go package.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) package: &'static str,
    /// The name that `go build` gives the binary: the last element of the package's path that is not a version.
    pub(crate) built_as: &'static str,
}

/// A file of a Go module.
#[derive(Debug)]
pub(crate) struct ModuleFile {
    pub(crate) name: &'static str,
    pub(crate) module: &'static str,
    /// The path in the module.
    pub(crate) path: &'static str,
}

impl Program {
    const fn kubernetes(name: &'static str, package: &'static str) -> Self {
        Self { name, package, built_as: name }
    }
}

/// Programs that only the tests use.
pub(crate) const HELM: GoModule = GoModule {
    name: "Helm v4.3.1",
    go_mod: include_str!("../go/helm/go.mod"),
    go_sum: include_str!("../go/helm/go.sum"),
    versions: "",
    programs: &[Program { name: "helm", package: "helm.sh/helm/v4/cmd/helm", built_as: "helm" }],
    files: &[],
    usual_time: "cold about 2 min on 2 cores",
};

const ARGO_CD_MODULE: &str = "github.com/argoproj/argo-cd/v3";

/// All programs of Argo CD are one binary. Only the tests with real GitOps controllers use it.
pub(crate) const ARGO_CD: GoModule = GoModule {
    name: "Argo CD v3.1.16",
    go_mod: include_str!("../go/argo-cd/go.mod"),
    go_sum: include_str!("../go/argo-cd/go.sum"),
    versions: "",
    programs: &[Program { name: "argocd", package: "github.com/argoproj/argo-cd/v3/cmd", built_as: "cmd" }],
    files: &[
        ModuleFile {
            name: "argocd-application-crd.yaml",
            module: ARGO_CD_MODULE,
            path: "manifests/crds/application-crd.yaml",
        },
        ModuleFile {
            name: "argocd-appproject-crd.yaml",
            module: ARGO_CD_MODULE,
            path: "manifests/crds/appproject-crd.yaml",
        },
    ],
    usual_time: "cold about 4 min on 2 cores",
};

const FLUX_MODULE: &str = "github.com/fluxcd/kustomize-controller";

/// The part of Flux that applies. Only the tests with real GitOps controllers use it.
pub(crate) const FLUX: GoModule = GoModule {
    name: "Flux's kustomize-controller v1.9.6",
    go_mod: include_str!("../go/flux/go.mod"),
    go_sum: include_str!("../go/flux/go.sum"),
    versions: "",
    programs: &[Program { name: "kustomize-controller", package: FLUX_MODULE, built_as: "kustomize-controller" }],
    files: &[ModuleFile {
        name: "flux-kustomizations-crd.yaml",
        module: FLUX_MODULE,
        path: "config/crd/bases/kustomize.toolkit.fluxcd.io_kustomizations.yaml",
    }],
    usual_time: "cold about 4 min on 2 cores",
};

/// The modules beside Kubernetes, in build order. They are quick, so a broken Go installation fails early.
pub(crate) const GO_MODULES: [GoModule; 2] = [
    GoModule {
        name: "etcd v3.6.16",
        go_mod: include_str!("../go/etcd/go.mod"),
        go_sum: include_str!("../go/etcd/go.sum"),
        versions: "",
        programs: &[Program { name: "etcd", package: "go.etcd.io/etcd/server/v3", built_as: "server" }],
        files: &[],
        usual_time: "cold about 45 s on 2 cores",
    },
    GoModule {
        name: "kwok v0.8.0",
        go_mod: include_str!("../go/kwok/go.mod"),
        go_sum: include_str!("../go/kwok/go.sum"),
        versions: "",
        programs: &[Program { name: "kwok", package: "sigs.k8s.io/kwok/cmd/kwok", built_as: "kwok" }],
        files: &[],
        usual_time: "cold about 80 s on 2 cores",
    },
];

/// A module of Kubernetes, with its folder.
macro_rules! kubernetes {
    ($minor:literal, $version:literal) => {
        GoModule {
            name: concat!("Kubernetes v1.", $version),
            go_mod: include_str!(concat!("../go/kubernetes-1.", $minor, "/go.mod")),
            go_sum: include_str!(concat!("../go/kubernetes-1.", $minor, "/go.sum")),
            versions: concat!(
                "-X k8s.io/component-base/version.gitVersion=v1.",
                $version,
                " -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=",
                $minor,
                " -X k8s.io/component-base/version.gitTreeState=clean"
            ),
            programs: KUBERNETES_PROGRAMS,
            files: &[],
            usual_time: "cold about 6 min on 2 cores",
        }
    };
}

const KUBERNETES_PROGRAMS: &[Program] = &[
    Program::kubernetes("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
    Program::kubernetes("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
    Program::kubernetes("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
    Program::kubernetes("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
];

/// The versions of Kubernetes that the tests can run on, each with its module.
pub(crate) const KUBERNETES: [(&str, GoModule); 4] = [
    ("1.30", kubernetes!("30", "30.14")),
    ("1.33", kubernetes!("33", "33.13")),
    ("1.36", kubernetes!("36", "36.3")),
    ("1.37", kubernetes!("37", "37.2")),
];

/// The version without a choice.
pub(crate) const DEFAULT_VERSION: &str = "1.36";

impl GoModule {
    /// The module of Kubernetes of a version such as `1.30`.
    pub(crate) fn of_kubernetes(version: &str) -> Option<&'static Self> {
        let all: &'static [(&str, Self)] = &KUBERNETES;
        all.iter().find(|(minor, _)| *minor == version).map(|(_, module)| module)
    }

    /// The module of a binary or a file, with this one of Kubernetes.
    pub(crate) fn of(name: &str, kubernetes: &'static Self) -> Option<&'static Self> {
        let others: &'static [Self] = &GO_MODULES;
        let mut all = others.iter().chain([kubernetes, &HELM, &ARGO_CD, &FLUX]);
        all.find(|module| module.names().any(|one| one == name))
    }

    /// The names of all binaries and files.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        let programs = self.programs.iter().map(|program| program.name);
        programs.chain(self.files.iter().map(|file| file.name))
    }

    /// The name of one state of this module. Another version has another folder in the cache, and does not affect other
    /// modules.
    pub(crate) fn cache_key(&self) -> String {
        let texts = [self.go_mod, self.go_sum, self.versions];
        // FNV-1a. The hashers of the standard library may change with a Rust version, and that must not cost a build of
        // seven minutes.
        let hash = texts
            .into_iter()
            .flat_map(|text| text.bytes().chain([0]))
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        format!("{hash:016x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> impl Iterator<Item = &'static GoModule> {
        let kubernetes: &'static [(&str, GoModule)] = &KUBERNETES;
        let others: &'static [GoModule] = &GO_MODULES;
        others.iter().chain([&HELM, &ARGO_CD, &FLUX]).chain(kubernetes.iter().map(|(_, module)| module))
    }

    #[test]
    fn the_usual_version_is_known() {
        assert!(GoModule::of_kubernetes(DEFAULT_VERSION).is_some());
        assert!(GoModule::of_kubernetes("1.29").is_none());
    }

    #[test]
    fn the_reported_versions_are_those_of_the_modules() {
        for module in all() {
            let version = module.name.rsplit(' ').next().unwrap_or_default();
            assert!(module.go_mod.contains(&format!(" {version}")), "{} is not in its go.mod", module.name);
            assert!(module.versions.is_empty() || module.versions.contains(&format!("gitVersion={version}")));
        }
    }

    #[test]
    fn every_program_is_declared_as_a_tool() {
        for module in all() {
            for program in module.programs {
                assert!(module.go_mod.contains(program.package), "{} is no tool of {}", program.package, module.name);
            }
        }
    }
}
