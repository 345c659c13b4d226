//! The HTML page: its text, its policy of contents, and what a browser makes of it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod audited;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use audited::{hostile_of, looked, report_of};
use base64::Engine as _;
use flipguard::model::Timestamp;
use flipguard::page::{Live, page};
use flipguard::report::Report;
use serde_json::Value;

/// The cases that are shown, each in a namespace of its own.
const CASES: [&str; 5] =
    ["audit/state-shared", "audit/live-below-floor", "audit/accepted", "audit/healthy", "seeing/a-colour-that-fails"];

fn report() -> Report {
    report_of(&CASES)
}

fn hostile(evil: &str) -> Report {
    hostile_of(&CASES, evil)
}

/// The page without what is embedded for programs.
fn without_json(page: &str) -> String {
    let (before, rest) = page.split_once("<script type=\"application/json\"").unwrap();
    before.to_owned() + rest.split_once("</script>").unwrap().1
}

#[test]
fn the_page_is_small_and_loads_nothing() {
    let shown = page(&report(), None);
    for loads in ["http://", "https://", "src=", "@import", "url(", "<link", "style=\"", "onclick"] {
        assert!(!without_json(&shown).contains(loads), "{loads}");
    }
    let mut large = Report::new("prod-eu".to_owned(), Timestamp(0), vec![]);
    for number in 0..400 {
        large.add(looked("seeing/a-colour-that-fails", &format!("shop-{number}")));
    }
    let services: usize = large.namespaces.iter().map(|one| one.services.len()).sum();
    let per_service = (without_json(&page(&large, None)).len() - 60 * 1024) / services;
    assert!(per_service < 4 * 1024, "{per_service} bytes a Service");
}

/// Script and style run by their hashes only, so the hashes must be those of what is embedded.
#[test]
fn the_policy_of_contents_names_what_is_embedded() {
    for live in [None, Some(Live { seconds: 5, stale: None })] {
        let shown = page(&report(), live.as_ref());
        let inside = |from: &str, to: &str| shown.rsplit_once(from).unwrap().1.split_once(to).unwrap().0.to_owned();
        for (directive, text) in
            [("style-src", inside("<style>", "</style>")), ("script-src", inside("<script>", "</script>"))]
        {
            let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
            let hash = base64::engine::general_purpose::STANDARD.encode(digest);
            assert!(shown.contains(&format!("{directive} 'sha256-{hash}'")), "{directive}");
        }
        assert!(shown.contains("default-src 'none'"));
    }
}

/// The report that a page embeds.
fn embedded(page: &str) -> Value {
    let json = page.split_once("id=\"report\">").unwrap().1.split_once("</script>").unwrap().0;
    serde_json::from_str(json).unwrap()
}

/// Also where each text is hostile: nothing of it is lost.
#[test]
fn the_embedded_report_is_the_json() {
    for report in [report(), hostile(EVIL), hostile("</script>\\u003c \u{1b}\u{7}\u{1}\u{7f}\u{202e}\u{2028}\u{fffe}")]
    {
        assert_eq!(embedded(&page(&report, None)), serde_json::to_value(&report).unwrap());
    }
}

const EVIL: &str = "</script></style><img src=x onerror=alert(1)>\"'><b>";

/// What is hostile in these tests: each text that is no word of flipguard's own.
#[test]
fn every_text_is_made_hostile() {
    let (mut own, mut evil) = (BTreeSet::new(), BTreeSet::new());
    texts(&serde_json::to_value(hostile(EVIL)).unwrap(), "", &mut |field, text| {
        if text == EVIL {
            evil.insert(field.to_owned())
        } else {
            own.insert(field.to_owned())
        };
    });
    let words = ["apiVersion", "at", "because", "code", "decision", "denies", "enforcement", "flipguardVersion"];
    let words = words.into_iter().chain(["role", "severity", "state", "until", "warns"]);
    assert_eq!(own.iter().map(String::as_str).collect::<Vec<_>>(), words.collect::<Vec<_>>());
    for field in ["user", "manager", "reason", "attention", "words", "enforcementBy", "withoutLedger", "revision"] {
        assert!(evil.contains(field), "{field}");
    }
}

/// Calls this with each string of JSON, and the field that it is in.
fn texts(value: &Value, field: &str, found: &mut impl FnMut(&str, &str)) {
    match value {
        Value::String(text) => found(field, text),
        Value::Array(all) => all.iter().for_each(|one| texts(one, field, found)),
        Value::Object(fields) => fields.iter().for_each(|(name, one)| texts(one, name, found)),
        _ => {}
    }
}

#[test]
fn hostile_text_stays_text() {
    let live = Live { seconds: 5, stale: Some(EVIL.to_owned()) };
    let shown = page(&hostile(EVIL), Some(&live));
    assert!(!shown.contains("<img") && !shown.contains("<b>"));
    assert_eq!(shown.matches("</script>").count(), 2);
    assert_eq!(shown.matches("</style>").count(), 1);
    // Each of these is shown, and as text.
    let escaped = EVIL.replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    for place in [
        "needs attention: ",
        "override until 1970-01-01T00:00:00Z: ",
        "</time> from ",
        ", by ",
        "Later looks failed: ",
        "Deny (",
        "<title>flipguard · ",
        "cannot read ",
    ] {
        assert!(shown.contains(&format!("{place}{escaped}")), "{place}");
    }
}

/// What cannot be seen, or turns other text around, is shown by its number.
#[test]
fn hidden_characters_are_shown() {
    let evil = "\u{1b}[31m\u{7}\u{1}\u{9b}\u{202e}\u{2066}\u{fffe}";
    let live = Live { seconds: 5, stale: Some(evil.to_owned()) };
    let shown = page(&hostile(evil), Some(&live));
    for letter in evil.chars().filter(|letter| !letter.is_ascii_graphic()) {
        assert!(!shown.contains(letter), "{letter:?}");
    }
    assert!(shown.contains("\\u{1b}[31m\\u{7}\\u{1}\\u{9b}\\u{202e}\\u{2066}\\u{fffe}"));
}

#[test]
fn a_stale_page_says_since_when() {
    let mut report = report();
    report.at = Timestamp(86_400);
    let live = Live { seconds: 5, stale: Some("cannot reach <the> API server".to_owned()) };
    let note = "This report is from <time datetime=\"1970-01-02T00:00:00Z\">1970-01-02T00:00:00Z</time>. \
                Later looks failed: cannot reach &lt;the&gt; API server</p>";
    assert!(page(&report, Some(&live)).contains(note));
    for fresh in [None, Some(Live { seconds: 5, stale: None })] {
        assert!(!page(&report, fresh.as_ref()).contains("Later looks failed"));
    }
}

/// Where the browser works; it is gone with this value.
struct Browser {
    program: &'static str,
    folder: PathBuf,
}

impl Drop for Browser {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

impl Browser {
    /// A headless Chromium, where one is installed.
    fn find(test: &str) -> Option<Self> {
        let there = |name: &&&str| Command::new(name).arg("--version").output().is_ok_and(|out| out.status.success());
        let found = ["chromium-headless-shell", "chromium"].iter().find(there);
        let Some(program) = found else {
            assert!(std::env::var_os("CI").is_none(), "Chromium is not installed (tests/tools)");
            eprintln!("skipped: Chromium is not installed (tests/tools)");
            return None;
        };
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("page-{test}"));
        drop(std::fs::remove_dir_all(&folder));
        std::fs::create_dir_all(&folder).unwrap();
        Some(Self { program, folder })
    }

    fn write(&self, name: &str, page: &str) -> String {
        let file = self.folder.join(name);
        std::fs::write(&file, page).unwrap();
        format!("file://{}", file.display())
    }

    /// Runs the browser without any network, and returns what it prints.
    fn run(&self, args: &[&str]) -> (String, String) {
        let output = Command::new(self.program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--v=0"])
            .arg(format!("--user-data-dir={}", self.folder.join("profile").display()))
            .args(args)
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{}", text(&output.stderr));
        (text(&output.stdout), text(&output.stderr))
    }

    /// The document as the browser has it after the script.
    fn dom(&self, url: &str) -> String {
        let (dom, log) = self.run(&["--dump-dom", url]);
        assert!(!log.contains("CONSOLE"), "{log}");
        dom
    }
}

/// The names of the articles that are shown.
fn shown(dom: &str) -> Vec<String> {
    let articles = dom.split("<article ").skip(1).map(|rest| rest.split_once('>').unwrap().0);
    let visible = articles.filter(|tag| !tag.contains("hidden"));
    visible.map(|tag| tag.split_once("data-name=\"").unwrap().1.split_once('"').unwrap().0.to_owned()).collect()
}

#[test]
fn the_fragment_filters() {
    let Some(browser) = Browser::find("filter") else { return };
    let url = browser.write("report.html", &page(&report(), None));
    let all = shown(&browser.dom(&url));
    assert!(all.len() >= 6 && all.contains(&"healthy app".to_owned()), "{all:?}");
    let findings = shown(&browser.dom(&format!("{url}#only=findings")));
    assert!(!findings.contains(&"healthy app".to_owned()) && findings.contains(&"state-shared app".to_owned()));
    assert_eq!(shown(&browser.dom(&format!("{url}#q=state"))), ["state-shared app"]);
    let errors = browser.dom(&format!("{url}#severity=error&only=findings"));
    assert!(shown(&errors).contains(&"live-below-floor app".to_owned()), "{:?}", shown(&errors));
    assert!(!shown(&errors).contains(&"accepted app".to_owned()));
    assert!(errors.contains("id=\"only\" type=\"checkbox\"") && errors.contains(" shown</output>"));
    // An anchor is a place, no filter.
    assert_eq!(shown(&browser.dom(&format!("{url}#state-shared"))), all);
}

/// Nothing of it becomes an element or a script, and nothing is asked for.
#[test]
fn a_browser_shows_hostile_text_as_text() {
    let Some(browser) = Browser::find("hostile") else { return };
    let evil = "</script></style><img src='https://example.invalid/x' onerror='document.title=1'>";
    let dom = browser.dom(&browser.write("hostile.html", &page(&hostile(evil), None)));
    assert!(!dom.contains("<img") && dom.contains("<title>flipguard"), "{dom}");
    assert!(dom.contains("&lt;img src='https://example.invalid/x'"));
}

/// At every width, nothing goes beyond the window: the page tells its width to a script that only this test adds.
#[test]
fn the_page_fits_every_width() {
    let Some(browser) = Browser::find("widths") else { return };
    let (head, rest) =
        page(&report(), None).split_once("<meta http-equiv=").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let measured = head
        + rest.split_once('>').unwrap().1
        + "<script>document.title = document.documentElement.scrollWidth + ' of ' + innerWidth</script>";
    let (plain, measured) =
        (browser.write("plain.html", &page(&report(), None)), browser.write("measured.html", &measured));
    for width in [500_u32, 900, 1600] {
        let window = format!("--window-size={width},1200");
        let (dom, _) = browser.run(&[&window, "--dump-dom", &measured]);
        let title = dom.split_once("<title>").unwrap().1.split_once('<').unwrap().0.to_owned();
        let (is, of) = title.split_once(" of ").unwrap();
        assert!(is.parse::<u32>().unwrap() <= of.parse::<u32>().unwrap(), "{width}: {title}");
        for (dark, flag) in
            [("light", "--blink-settings=preferredColorScheme=1"), ("dark", "--blink-settings=preferredColorScheme=0")]
        {
            let picture = browser.folder.join(format!("{width}-{dark}.png"));
            browser.run(&[&window, flag, &format!("--screenshot={}", picture.display()), &plain]);
            // A blank picture of this size has about 5 KB.
            assert!(std::fs::metadata(&picture).unwrap().len() > 20_000, "{}", picture.display());
            if let Some(kept) = std::env::var_os("SCREENSHOTS") {
                std::fs::copy(&picture, Path::new(&kept).join(format!("{width}-{dark}.png"))).unwrap();
            }
        }
    }
}
