//! Every file of `tests/cases/` is judged, and its verdict is compared with the expected one.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use flipguard::audit::checks::{ALL, Severity};
use flipguard::audit::guarding::of_cluster;
use flipguard::model::Guarding;
use flipguard::offline::case::Case;
use flipguard::review::message;

#[test]
fn every_case_is_as_expected() -> Result<(), Box<dyn Error>> {
    let files = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases"))?;
    let wrong: Vec<String> = files.iter().filter_map(|file| run(file).err()).collect();
    assert!(wrong.is_empty(), "{} of {} cases:\n\n{}", wrong.len(), files.len(), wrong.join("\n\n"));
    println!("{} cases", files.len());
    assert!(files.len() >= 300, "found only {} cases", files.len());
    Ok(())
}

/// The messages of all cases, compared word for word with one file. `UPDATE=1` rewrites the file.
#[test]
fn messages_match_the_golden_file() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("tests/cases");
    let mut said = String::new();
    for file in files(&folder)? {
        let verdict = Case::load(&file)?.verdict()?;
        let lines = [vec![message::denial(&verdict)], message::warnings(&verdict)].concat();
        let lines: Vec<String> = lines.into_iter().filter(|line| !line.is_empty()).collect();
        if !lines.is_empty() {
            let name = file.strip_prefix(&folder)?.with_extension("");
            writeln!(said, "## {}\n{}\n", name.display(), lines.join("\n"))?;
        }
    }
    let golden = root.join("tests/golden/messages.txt");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&golden, &said)?;
    }
    let agreed = std::fs::read_to_string(&golden)?;
    for (agreed, said) in agreed.split("\n\n").zip(said.split("\n\n")) {
        assert_eq!(agreed, said, "if this is intended, run: UPDATE=1 cargo test --test cases");
    }
    assert_eq!(agreed.len(), said.len(), "if this is intended, run: UPDATE=1 cargo test --test cases");
    let is_first = |line: &&str| line.split_once(": ").is_some_and(|(object, _)| object.contains(" shop/"));
    for line in said.lines().filter(is_first) {
        assert!(line.chars().count() <= 200, "this first line has more than 200 characters:\n{line}");
        assert!(!line.contains("kubectl"), "a command needs a line of its own:\n{line}");
    }
    Ok(())
}

/// Each check fires on its case, and is silent on all others that do not name it.
#[test]
fn every_check_fires_on_its_case() -> Result<(), Box<dyn Error>> {
    let mut fired = BTreeSet::new();
    let mut wrong = Vec::new();
    for file in files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/audit"))? {
        let case = Case::load(&file)?;
        let found: Vec<String> = case
            .audit()?
            .iter()
            .map(|finding| {
                let accepted = if finding.accepted.is_some() { " accepted" } else { "" };
                let usual = ALL.iter().any(|check| check.code == finding.code && check.severity == finding.severity);
                let severity = if usual { String::new() } else { format!(" as {}", finding.severity.name()) };
                format!("{} {}{accepted}{severity}", finding.code, finding.name)
            })
            .collect();
        fired.extend(found.iter().filter_map(|one| one.split(' ').next()).map(str::to_owned));
        let mut expected = case.finds.ok_or("a case of an audit says what it finds")?;
        let mut sorted = found.clone();
        sorted.sort();
        expected.sort();
        if sorted != expected {
            wrong.push(format!("{}: {found:?}, not {expected:?}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // flipguard itself is in no case.
    assert!(of_cluster(&Guarding::Yes).is_none() && of_cluster(&Guarding::Unknown(String::new())).is_none());
    assert_eq!(of_cluster(&Guarding::Never).map(|one| one.severity), Some(Severity::Warning));
    let suspended = of_cluster(&Guarding::No("it is suspended".to_owned())).ok_or("nothing was found")?;
    assert_eq!(suspended.severity, Severity::Error);
    fired.insert(suspended.code.to_owned());
    let silent: Vec<&str> = ALL.iter().map(|check| check.code).filter(|code| !fired.contains(*code)).collect();
    assert!(silent.is_empty(), "checks without a case: {silent:?}");
    Ok(())
}

/// `docs/checks.md` is generated from the table of checks.
#[test]
fn the_documentation_of_checks_is_current() -> Result<(), Box<dyn Error>> {
    let checks = Command::new(env!("CARGO_BIN_EXE_flipguard")).args(["audit", "--checks"]).output()?;
    let stored = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/checks.md"))?;
    assert!(stored == String::from_utf8(checks.stdout)?, "docs/checks.md is stale; run: make docs");
    Ok(())
}

/// A law: an imagined flip is answered as the same flip in earnest.
#[test]
fn an_imagined_flip_is_answered_as_a_real_one() -> Result<(), Box<dyn Error>> {
    let mut compared = 0;
    for file in files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases"))? {
        if let Some((imagined, real)) = Case::load(&file)?.whatif()? {
            assert_eq!(imagined, real, "{}", file.display());
            compared += 1;
        }
    }
    assert!(compared >= 60, "only {compared} cases flip to another colour of their Service");
    Ok(())
}

/// `docs/rules.md` is generated from the table of rules.
#[test]
fn the_rule_documentation_is_current() -> Result<(), Box<dyn Error>> {
    let rules = Command::new(env!("CARGO_BIN_EXE_flipguard")).args(["rules", "--output", "markdown"]).output()?;
    let stored = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/rules.md"))?;
    assert!(stored == String::from_utf8(rules.stdout)?, "docs/rules.md is stale; run: make docs");
    Ok(())
}

fn run(file: &Path) -> Result<(), String> {
    let named = |why: String| format!("{}: {why}", file.display());
    let case = Case::load(file).map_err(|error| named(format!("{error:#}")))?;
    let verdict = case.verdict().map_err(|error| named(format!("{error:#}")))?;
    case.compare(&verdict).map_err(named)
}

fn files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(self::files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
