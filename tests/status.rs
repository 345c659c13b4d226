//! The words of `flipguard status`, compared with one file. `UPDATE=1` rewrites it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

#[path = "audited/hostile.rs"]
mod hostile;

use std::fmt::Write as _;
use std::path::Path;

use flipguard::offline::case::Case;
use flipguard::status::goal::{Goal, Progress, progress};
use flipguard::status::signs::Signs;
use flipguard::status::tree::{Style, text};
use flipguard::status::{NamespaceStatus, status};
use hostile::make_hostile;

/// The cases whose namespaces are shown.
const CASES: [&str; 3] = ["seeing/a-colour-that-fails", "hold/redeployed", "live/delete-with-two-services"];

fn case(name: &str) -> NamespaceStatus {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(name).with_extension("yaml");
    let (snapshot, policy) = Case::load(&file).unwrap().at_rest().unwrap();
    status(&snapshot, &policy, &|_| true)
}

/// The text without the escape codes of its colours.
fn plain(text: &str) -> String {
    let mut kept = String::new();
    for (index, part) in text.split('\u{1b}').enumerate() {
        kept.push_str(if index == 0 { part } else { part.split_once('m').map_or(part, |(_, rest)| rest) });
    }
    kept
}

#[test]
fn words_match_the_golden_file() {
    let mut all = String::new();
    for name in CASES {
        let shown = case(name);
        for (title, is_ascii, is_wide, has_pods) in [
            ("", false, false, false),
            (", wide", false, true, false),
            (", in letters", true, false, false),
            (", with pods", false, false, true),
        ] {
            let style = Style { signs: Signs::new(is_ascii), is_wide, has_pods, no_headers: false };
            let text = plain(&text(&shown, style));
            assert!(!is_ascii || text.is_ascii(), "{text}");
            writeln!(all, "## {name}{title}\n{text}").unwrap();
        }
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/status.txt");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&golden, &all).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(&golden).unwrap(),
        all,
        "if this is intended: UPDATE=1 cargo test --test status"
    );
}

/// Hidden characters are shown, and a long text is shortened, in each place that a text of the cluster may have.
#[test]
fn hostile_text_stays_text() {
    let evil = format!("\u{1b}]0;x\u{7}\u{202e}\n{}", "long ".repeat(20_000));
    for (is_ascii, is_wide, has_pods) in [(false, false, false), (true, true, true)] {
        let mut shown = case(CASES[0]);
        make_hostile(&mut shown, &evil);
        let style = Style { signs: Signs::new(is_ascii), is_wide, has_pods, no_headers: false };
        let text = plain(&text(&shown, style));
        assert!(!is_ascii || text.is_ascii(), "{text}");
        for letter in ['\u{1b}', '\u{7}', '\u{202e}'] {
            assert!(!text.contains(letter), "{letter:?}");
        }
        assert!(!text.lines().any(|line| line.starts_with("long")), "{text}");
        assert!(text.contains("\\u{1b}]0;x\\u{7}\\u{202e} long long") && text.contains("more characters)"), "{text}");
        // No line has more than a handful of such texts.
        assert!(text.lines().all(|line| line.chars().count() < 6000), "{}", text.len());
    }
}

#[test]
fn what_is_waited_for() {
    let shown = case(CASES[0]);
    let reached = |name: &str, goal: Goal| {
        let mut one = shown.clone();
        one.services.retain(|service| service.name == name);
        assert_eq!(one.services.len(), 1, "{name}");
        progress(&one, goal)
    };
    assert_eq!(reached("app", Goal::Ready), Progress::Reached);
    assert!(matches!(reached("pay", Goal::Ready), Progress::NotYet(why) if why.contains("1 of 2 pods ready")));
    assert_eq!(reached("cart", Goal::Flippable), Progress::Reached);
    assert!(matches!(reached("cart", Goal::HeldOver), Progress::NotYet(why) if why == "cart: 1.9 is held"));
    assert_eq!(reached("app", Goal::HeldOver), Progress::Reached);
    assert!(matches!(progress(&shown, Goal::Ready), Progress::NotYet(_)));
}
