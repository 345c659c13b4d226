//! Architecture tests: the modules that each module may use, and the crates that the dependency tree may contain.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Modules that are not pure, with the modules of this crate that each may use. The listeners get a judge and do not
/// use the cluster. Reviews use the protocol but no connection. The offline module has no network.
const WALLED: [(&str, &[&str]); 5] = [
    ("review", &["labels", "model", "review", "rules"]),
    ("server", &["certs", "labels", "model", "review", "rules", "server", "telemetry"]),
    ("telemetry", &["model", "rules", "telemetry"]),
    ("install", &["install", "model", "policy"]),
    ("offline", &["audit", "labels", "model", "offline", "policy", "report", "review", "rules"]),
];

/// The pure modules, with the modules of this crate that each may use.
const PURE: [(&str, &[&str]); 11] = [
    ("model", &["model"]),
    ("rules", &["model", "rules"]),
    ("labels", &["model", "rules", "labels"]),
    ("ledger", &["model", "rules", "ledger"]),
    ("policy", &["model", "rules", "policy"]),
    ("audit", &["audit", "model", "policy", "rules"]),
    ("status", &["audit", "history", "model", "policy", "rules", "status"]),
    ("report", &["audit", "model", "report", "status"]),
    ("plugin", &["audit", "model", "plugin", "rules"]),
    ("history", &["history", "ledger", "model", "rules"]),
    ("page", &["audit", "model", "page", "report", "status"]),
];

/// The one pure file that names kube: the CRD is derived from its types.
const CUSTOM_RESOURCE: &str = "src/policy/resource.rs";

/// Pure files in modules that are not pure.
const PURE_FILES: [&str; 10] = [
    "certs/plan.rs",
    "certs/tokens.rs",
    "registration/compare.rs",
    "registration/plan.rs",
    "registration/policy_status.rs",
    "registration/programmed.rs",
    "registration/reach.rs",
    "registration/repairs.rs",
    "registration/selector.rs",
    "registration/stored.rs",
];

/// Names that stand for I/O, waiting, logging or a clock. Pure code gets the time as data.
const FORBIDDEN: [&str; 8] = ["kube", "k8s_openapi", "tokio", "axum", "tracing", "SystemTime", "Instant", "now_utc"];

#[test]
fn pure_modules_name_nothing_impure() {
    for (room, may_use) in PURE {
        let files = rust_files(&root().join("src").join(room));
        assert!(!files.is_empty(), "src/{room} has no files; was it moved?");
        for file in files {
            let mut found = trespasses(&read(&file), may_use);
            found.retain(|name| name != "kube" || !file.ends_with(CUSTOM_RESOURCE));
            assert!(
                found.is_empty(),
                "{} names {}: src/{room} is pure; bring what it needs in as data (CONTRIBUTING.md)",
                file.display(),
                found.join(", ")
            );
        }
    }
}

#[test]
fn other_modules_stay_within_their_walls() {
    for (room, may_use) in WALLED {
        for file in rust_files(&root().join("src").join(room)) {
            // The unit tests of a module may use the cases.
            let code = read(&file);
            let code = code.split("#[cfg(test)]").next().unwrap_or_default();
            let found: Vec<String> =
                trespasses(code, may_use).into_iter().filter(|name| name.starts_with("crate::")).collect();
            assert!(found.is_empty(), "{} names {} (CONTRIBUTING.md)", file.display(), found.join(", "));
        }
    }
}

/// No two files of `rules/` use each other, directly or indirectly. So each file can be read before its users.
#[test]
fn no_circle_between_files_of_rules() {
    let folder = root().join("src/rules");
    let files = rust_files(&folder);
    let module = |file: &Path| {
        let path = file.strip_prefix(root().join("src")).unwrap().with_extension("");
        path.to_string_lossy().trim_end_matches("/mod").replace('/', "::")
    };
    let modules: Vec<String> = files.iter().map(|file| module(file)).collect();
    let uses: Vec<(String, Vec<String>)> =
        files.iter().map(|file| (module(file), imports(&read(file), &module(file), &modules))).collect();
    assert!(uses.iter().map(|(_, used)| used.len()).sum::<usize>() > 40, "imports are not read any more: {uses:?}");
    for (start, _) in &uses {
        let mut reached: Vec<&String> = vec![];
        let mut open = vec![start];
        while let Some(module) = open.pop() {
            for used in uses.iter().filter(|(name, _)| name == module).flat_map(|(_, used)| used) {
                assert!(used != start, "{start} uses itself, by way of {module}");
                if !reached.contains(&used) {
                    reached.push(used);
                    open.push(used);
                }
            }
        }
    }
}

/// The modules of `rules/` that a file imports, without its parents. A `mod.rs` may import its own parts.
fn imports(code: &str, own: &str, modules: &[String]) -> Vec<String> {
    let code = without_prose(code.split("#[cfg(test)]").next().unwrap_or_default());
    let parent = own.rsplit_once("::").map_or(own, |(parent, _)| parent);
    let mut found = Vec::new();
    for statement in code.split(';').map(|part| part.split_whitespace().collect::<Vec<_>>().join(" ")) {
        let Some(path) = statement.split("use ").nth(1) else { continue };
        let path = path.replace("crate::", "").replace("super::", &format!("{parent}::"));
        let names = match path.split_once('{') {
            Some((stem, list)) => {
                list.trim_end_matches('}').split(',').map(|name| format!("{stem}{}", name.trim())).collect()
            }
            None => vec![path],
        };
        for name in names {
            // The module with the longest matching path.
            let used = modules.iter().filter(|module| name == **module || name.starts_with(&format!("{module}::")));
            // A name that a `mod.rs` re-exports belongs to its file. Every file may use the types of a verdict.
            found.extend(
                used.max_by_key(|module| module.len())
                    .filter(|used| *used != own && !own.starts_with(used.as_str()))
                    .cloned(),
            );
        }
    }
    found
}

#[test]
fn pure_files_name_nothing_impure() {
    for file in PURE_FILES {
        let code = read(&root().join("src").join(file));
        let code = code.split("#[cfg(test)]").next().unwrap_or_default();
        let found = trespasses(code, &["policy"]);
        // Kubernetes' own types are plain data for code that only compares them.
        let found: Vec<String> = found.into_iter().filter(|name| name != "k8s_openapi").collect();
        assert!(found.is_empty(), "src/{file} names {}, but it is pure; pass it as data", found.join(", "));
    }
}

#[test]
fn violations_are_found_and_comments_ignored() {
    let found = |code: &str| trespasses(code, &["model", "rules"]);
    assert_eq!(found("use kube::Client;"), ["kube"]);
    assert_eq!(found("fn f(at: std::time::Instant) {}"), ["Instant"]);
    assert_eq!(found("let x = 'a'; tracing::info!(\"x\");"), ["tracing"]);
    assert_eq!(found("use ::tokio as t;"), ["tokio"]);
    assert_eq!(found("use crate::cluster::namespace;"), ["crate::cluster"]);
    assert_eq!(found("use crate::{model::Pod, judge};"), ["crate::{"]);
    assert_eq!(found("let s = \"\\\"\"; use axum::Router;"), ["axum"]);
    assert_eq!(found("let s = r#\"\"\"#; use axum::Router;"), ["axum"]);
    for harmless in [
        "// tokio, and what kube says\nuse crate::model::Pod;",
        "/* kube /* nested */ tokio */ fn f() {}",
        "/// An Instant is no time of day.\nstruct X;",
        "let message = \"an Instant of kube\\\" tokio\";",
        "let bytes = br\"\\\"; // kube\nuse crate::rules::flip;",
        "let message = r#\"say \"kube\" twice\"#;",
        "fn f<'kubectl>(x: &'kubectl str) -> char { '\"' } // kube",
        "let kubernetes = instant_noodles();",
    ] {
        assert_eq!(found(harmless), [""; 0], "{harmless}");
    }
}

#[test]
fn main_is_small() {
    let lines = read(&root().join("src/main.rs")).lines().count();
    assert!(lines < 40, "src/main.rs has {lines} lines; it only starts src/cli");
}

/// With two providers in one process, rustls panics at its first connection. The lock file lists the crates of every
/// platform; cargo shows the dependency path.
/// Each file and folder in the map of CONTRIBUTING.md, in which two spaces are one level.
#[test]
fn the_map_names_what_exists() {
    let contributing = read(&root().join("CONTRIBUTING.md"));
    let map = contributing.split("```text\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let mut folders: Vec<&str> = Vec::new();
    for line in map.lines() {
        let entry = line.trim_start();
        folders.truncate((line.len() - entry.len()) / 2);
        // `ports.rs, parity.rs   words`: a comma continues the names.
        let mut words = entry.split_whitespace();
        let mut names = Vec::new();
        while let Some(word) = words.next().filter(|_| names.last().is_none_or(|last: &&str| last.ends_with(','))) {
            names.push(word);
        }
        for name in &names {
            let folder = folders.iter().fold(root().to_path_buf(), |path, folder| path.join(folder));
            let path = folder.join(name.trim_end_matches(','));
            assert!(path.exists(), "the map of CONTRIBUTING.md names {}, which does not exist", path.display());
        }
        folders.extend(names.first().filter(|name| name.ends_with('/')));
    }
}

#[test]
fn ring_is_the_one_crypto_provider() {
    let users_of = |krate: &str| cargo(&["tree", "--locked", "--workspace", "--edges=all", "-i", krate]);
    let ring = users_of("ring");
    assert!(ring.status.success(), "ring is no dependency any more: {}", text(&ring.stderr));
    let lock = read(&root().join("Cargo.lock"));
    for other in ["aws-lc-rs", "aws-lc-sys", "openssl-sys"] {
        let tree = users_of(other);
        let users = format!("{}{}", text(&tree.stdout), text(&tree.stderr));
        assert!(!tree.status.success() && users.contains("did not match any packages"), "{other} is back:\n{users}");
        assert!(!lock.contains(&format!("name = \"{other}\"")), "{other} is in Cargo.lock again");
    }
}

/// The oldest supported Rust is set once for all crates, is new enough for every dependency, and is the version in the
/// documentation. A version in the documentation may also be that of the toolchain file.
#[test]
fn the_rust_versions_agree() {
    let oldest = quoted_after(&read(&root().join("Cargo.toml")), "rust-version = ");
    let toolchain = quoted_after(&read(&root().join("rust-toolchain.toml")), "channel = ");
    assert!(version(&toolchain) >= version(&oldest), "rust-toolchain.toml has {toolchain}, Cargo.toml wants {oldest}");

    // Only one platform is resolved, so that no crates of others are downloaded.
    let linux = "--filter-platform=x86_64-unknown-linux-gnu";
    let metadata = cargo(&["metadata", "--locked", "--format-version=1", linux]);
    assert!(metadata.status.success(), "{}", text(&metadata.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).unwrap();
    for package in metadata["packages"].as_array().unwrap() {
        let (name, needs) = (&package["name"], package["rust_version"].as_str().unwrap_or("1.0"));
        assert!(version(needs) <= version(&oldest), "{name} needs Rust {needs}, but Cargo.toml says {oldest}");
        let ours = package["source"].is_null();
        assert!(!ours || version(needs) == version(&oldest), "{name} says {needs}, not rust-version.workspace");
    }

    for document in ["README.md", "CONTRIBUTING.md"] {
        let words = read(&root().join(document)).split_whitespace().collect::<Vec<_>>().join(" ");
        for named in words.split("Rust ").skip(1).filter(|rest| rest.starts_with("1.")) {
            let named: String = named.chars().take_while(|letter| letter.is_ascii_digit() || *letter == '.').collect();
            let named = named.trim_end_matches('.');
            assert!(
                [&oldest, &toolchain].contains(&&named.to_owned()),
                "{document} names Rust {named}; it is {oldest} (Cargo.toml) or {toolchain} (rust-toolchain.toml)"
            );
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// All Rust files below a folder; none if the folder does not exist.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The forbidden names in some code, and the modules that it uses but may not.
fn trespasses(code: &str, may_use: &[&str]) -> Vec<String> {
    let code = without_prose(code);
    let word = |letter: char| letter.is_alphanumeric() || letter == '_';
    let mut found: Vec<String> =
        code.split(|letter| !word(letter)).filter(|name| FORBIDDEN.contains(name)).map(str::to_owned).collect();
    for path in code.split("crate::").skip(1) {
        let room: String = path.chars().take_while(|letter| word(*letter)).collect();
        if room.is_empty() {
            // Modules must be imported one by one, so that this test can read them.
            found.push(format!("crate::{}", path.chars().take(1).collect::<String>()));
        } else if !may_use.contains(&room.as_str()) {
            found.push(format!("crate::{room}"));
        }
    }
    found
}

/// Rust code without comments and without the contents of strings.
fn without_prose(code: &str) -> String {
    let mut kept = String::new();
    let mut rest = code;
    while let Some(letter) = rest.chars().next() {
        let skip = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if letter == '"' {
            string(rest)
        } else if let Some(length) = raw_string(rest) {
            length
        } else if rest.starts_with("'\"'") {
            3
        } else if rest.starts_with("'\\\"'") {
            4
        } else {
            kept.push(letter);
            rest = &rest[letter.len_utf8()..];
            continue;
        };
        kept.push(' ');
        rest = &rest[skip..];
    }
    kept
}

/// The length of the block comment at the start of the text.
fn block_comment(code: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < code.len() {
        let (deeper, step) = match &code.as_bytes()[at..] {
            [b'/', b'*', ..] => (1, 2),
            [b'*', b'/', ..] => (-1, 2),
            _ => (0, 1),
        };
        depth += deeper;
        at += step;
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of the string literal at the start of the text.
fn string(code: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in code.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// The length of the raw string literal at the start of the text, if there is one.
fn raw_string(code: &str) -> Option<usize> {
    let marks = code.strip_prefix('r')?;
    let hashes = marks.len() - marks.trim_start_matches('#').len();
    let body = marks[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = body.find(&end).map_or(body.len(), |at| at + end.len());
    Some(1 + hashes + 1 + length)
}

/// The quoted text after a prefix such as `channel = `.
fn quoted_after(text: &str, words: &str) -> String {
    let rest = text.split_once(words).unwrap_or_else(|| panic!("there is no `{words}`")).1;
    rest.split('"').nth(1).unwrap().to_owned()
}

fn version(text: &str) -> (u32, u32) {
    let mut parts = text.split('.').map(|part| part.parse().unwrap());
    (parts.next().unwrap(), parts.next().unwrap_or(0))
}

fn cargo(args: &[&str]) -> Output {
    Command::new(env!("CARGO")).args(args).current_dir(root()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
