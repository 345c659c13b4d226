//! The Go modules of the binaries. Their `go.mod` and `go.sum` are embedded in this crate. So a build is the same
//! everywhere, and needs no source tree at run time.

/// One of the four Go modules.
#[derive(Debug)]
pub(crate) struct GoModule {
    pub(crate) name: &'static str,
    pub(crate) go_mod: &'static str,
    pub(crate) go_sum: &'static str,
    /// Linker flags that set the reported versions of the binaries.
    pub(crate) versions: &'static str,
    pub(crate) programs: &'static [Program],
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
    usual_time: "cold about 2 min on 2 cores",
};

/// The modules of the control plane, in build order. The quick ones come first, so a broken Go installation fails
/// early.
pub(crate) const GO_MODULES: [GoModule; 3] = [
    GoModule {
        name: "etcd v3.6.16",
        go_mod: include_str!("../go/etcd/go.mod"),
        go_sum: include_str!("../go/etcd/go.sum"),
        versions: "",
        programs: &[Program { name: "etcd", package: "go.etcd.io/etcd/server/v3", built_as: "server" }],
        usual_time: "cold about 45 s on 2 cores",
    },
    GoModule {
        name: "kwok v0.8.0",
        go_mod: include_str!("../go/kwok/go.mod"),
        go_sum: include_str!("../go/kwok/go.sum"),
        versions: "",
        programs: &[Program { name: "kwok", package: "sigs.k8s.io/kwok/cmd/kwok", built_as: "kwok" }],
        usual_time: "cold about 80 s on 2 cores",
    },
    GoModule {
        name: "Kubernetes v1.36.3",
        go_mod: include_str!("../go/kubernetes/go.mod"),
        go_sum: include_str!("../go/kubernetes/go.sum"),
        versions: "-X k8s.io/component-base/version.gitVersion=v1.36.3 \
                   -X k8s.io/component-base/version.gitMajor=1 \
                   -X k8s.io/component-base/version.gitMinor=36 \
                   -X k8s.io/component-base/version.gitTreeState=clean",
        programs: &[
            Program::kubernetes("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
            Program::kubernetes("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
            Program::kubernetes("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
            Program::kubernetes("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
        ],
        usual_time: "cold about 6 min on 2 cores",
    },
];

impl GoModule {
    /// The module of a binary.
    pub(crate) fn of(program: &str) -> Option<&'static Self> {
        let of_the_control_plane: &'static [Self] = &GO_MODULES;
        let all = of_the_control_plane.iter().chain([&HELM]);
        all.into_iter().find(|module| module.programs.iter().any(|one| one.name == program))
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

    #[test]
    fn the_reported_versions_are_those_of_the_modules() {
        for module in GO_MODULES.iter().chain([&HELM]) {
            let version = module.name.rsplit(' ').next().unwrap_or_default();
            assert!(module.go_mod.contains(&format!(" {version}")), "{} is not in its go.mod", module.name);
            assert!(module.versions.is_empty() || module.versions.contains(&format!("gitVersion={version}")));
        }
    }

    #[test]
    fn every_program_is_declared_as_a_tool() {
        for module in GO_MODULES.iter().chain([&HELM]) {
            for program in module.programs {
                assert!(module.go_mod.contains(program.package), "{} is no tool of {}", program.package, module.name);
            }
        }
    }
}
