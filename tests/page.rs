//! The HTML page: its text, its policy of contents, and what a browser makes of it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod audited;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use audited::{golden, hostile_of, looked, report_of};
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

/// A report of many namespaces.
fn many(cases: &[&str], count: usize) -> Report {
    let mut report = Report::new("prod-eu".to_owned(), Timestamp(0), vec![]);
    for number in 0..count {
        for case in cases {
            report.add(looked(case, &format!("{}-{number}", case.rsplit('/').next().unwrap())));
        }
    }
    report
}

fn services(report: &Report) -> usize {
    report.namespaces.iter().map(|one| one.services.len()).sum()
}

#[test]
fn the_page_loads_nothing() {
    let shown = page(&report(), None);
    for loads in ["http://", "https://", "src=", "@import", "url(", "<link", "style=\"", "onclick"] {
        assert!(!without_json(&shown).contains(loads), "{loads}");
    }
}

/// At most 60 KB and 2 KB a Service, with 300 bytes for each finding. Names are as long as those of real Pods, and
/// each colour has more Pods than are named.
#[test]
fn the_page_is_small() {
    for (case, count) in [("audit/healthy", 1), ("audit/healthy", 400), ("seeing/a-colour-that-fails", 160)] {
        let mut large = many(&[case], count);
        let all = large.namespaces.iter_mut().flat_map(|one| &mut one.services).flat_map(|one| &mut one.colours);
        for workload in all.flat_map(|colour| &mut colour.workloads) {
            workload.image = "registry.example/team/shop-frontend:1.4.2".to_owned();
            for (number, pod) in workload.pods.iter_mut().enumerate() {
                pod.name = format!("shop-frontend-7c9d8f6b5d-x2x5{number}");
            }
            let named = workload.pods.clone();
            workload.pods = named.into_iter().cycle().take(if case == "audit/healthy" { 10 } else { 5 }).collect();
            if case == "audit/healthy" {
                (workload.ready, workload.desired) = (30, 30);
            }
        }
        let bytes = without_json(&page(&large, None)).len();
        let most = 60 * 1024 + services(&large) * 2048 + large.findings.len() * 300;
        assert!(bytes <= most, "{case}: {bytes} bytes of {most} for {} Services", services(&large));
    }
}

/// The markup, one element a line; style, scripts and the JSON are left out.
#[test]
fn a_small_page_matches_its_golden_file() {
    let shown = page(&report_of(&["audit/accepted", "seeing/a-colour-that-fails"]), None);
    let body = without_json(&shown).split_once("<body>").unwrap().1.split_once("<script>").unwrap().0.to_owned();
    golden("page", "page.html", &(body.replace("><", ">\n<") + "\n"));
}

/// Over 500 Services, those without findings are one line each.
#[test]
fn many_services_are_folded() {
    for (count, is_folded) in [(497, false), (498, true)] {
        let mut report = many(&["audit/healthy"], count);
        report.add(looked("seeing/a-colour-that-fails", "shop"));
        assert_eq!(services(&report), count + 3);
        let shown = page(&report, None);
        let articles: Vec<&str> = shown.split("<article ").skip(1).collect();
        let (open, folded): (Vec<&str>, Vec<&str>) = articles.iter().partition(|one| one.contains("<details"));
        assert_eq!((open.len(), folded.len()), if is_folded { (3, count) } else { (count + 3, 0) });
        assert!(folded.iter().all(|one| one.contains("<h3>healthy-") && one.contains("blue live 3/3")));
        assert!(open.iter().filter(|one| one.contains("data-name=\"shop ")).count() == 3);
    }
}

/// A colour of 25 Pods has 20 dots: those that are not ready first, then a line of ready ones.
#[test]
fn a_colour_has_at_most_20_dots() {
    let drawn = |ready: usize, desired: u32| -> String {
        let mut one = looked("audit/healthy", "shop");
        let workload = &mut one.status.services[0].colours[0].workloads[0];
        (workload.ready, workload.desired) = (ready, desired);
        workload.pods.truncate(2);
        workload.pods[1].ready = false;
        workload.pods[1].because = Some("ImagePullBackOff".to_owned());
        let mut report = Report::new("prod-eu".to_owned(), Timestamp(0), vec![]);
        report.add(one);
        page(&report, None)
            .split_once("<g class=\"live\"")
            .unwrap()
            .1
            .split_once("<g class=\"idle\"")
            .unwrap()
            .0
            .to_owned()
    };
    let circles = |drawn: &str| drawn.matches("<circle ").count();
    // One dot is as long as 1, and each further one is 11 away.
    let some = drawn(23, 25);
    assert_eq!(circles(&some), 2);
    assert!(some.contains("<path d=\"M22 0h188\"><title>23 ready: app-blue-2-0, …</title>"), "{some}");
    assert!(some.contains("<title>app-blue-2-1: ImagePullBackOff</title>") && some.contains(">not there yet</title>"));
    assert!(some.contains(">+5</text>"), "{some}");
    let none_ready = drawn(0, 30);
    assert_eq!((circles(&none_ready), none_ready.contains("<path")), (20, false));
    assert!(none_ready.contains(">+10</text>"));
    let all = drawn(19, 20);
    assert!(circles(&all) == 1 && all.contains("M11 0h199") && !all.contains(">+"), "{all}");
}

/// Each anchor has its place, and no heading skips a level.
#[test]
fn anchors_and_headings_are_in_order() {
    let live = Live { seconds: 5, stale: Some("no answer".to_owned()) };
    for shown in [page(&report(), None), page(&report(), Some(&live)), page(&many(&[], 0), None)] {
        let all = |from: &str| -> Vec<String> {
            shown.split(from).skip(1).map(|rest| rest.split_once('"').unwrap().0.to_owned()).collect()
        };
        let ids = all(" id=\"");
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
        for anchor in all("href=\"#") {
            assert!(ids.contains(&anchor), "{anchor}");
        }
        let text = without_json(&shown);
        let headings = text.split("<h").skip(1).filter_map(|rest| rest.chars().next()?.to_digit(10));
        let levels: Vec<u32> = headings.collect();
        assert_eq!(levels.first(), Some(&1));
        assert_eq!(levels.iter().filter(|level| **level == 1).count(), 1);
        assert!(levels.windows(2).all(|pair| pair[1] <= pair[0] + 1), "{levels:?}");
    }
    assert!(page(&report(), None).matches("href=\"#").count() > 5);
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

const EVIL: &str = "</script></style><img src=x onerror=alert(1)>\"'><u>";

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
    assert!(!shown.contains("<img") && !shown.contains("<u>"));
    assert_eq!(shown.matches("</script>").count(), 2);
    assert_eq!(shown.matches("</style>").count(), 1);
    // Each of these is shown, and as text.
    let escaped = EVIL.replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    for place in [
        "<title>flipguard · E",
        "Later looks failed: E</p>",
        "<td>Deny (E)</td>",
        "needs attention: E</p>",
        "override until 1970-01-01T00:00:00Z: E</p>",
        " ago</time> from E, by E (E)</p>",
        "<strong>E</strong>: <span class=\"warning\">E</span>. E</p>",
        "<title>E: E</title>",
        " ready: E",
        "<td><code>E</code></td><td><code>E</code></td>",
        "accepted: E</div>",
        "cannot read E</li>",
        "skipped: E</li>",
        "fixed since the baseline: E</li>",
        "Policies: E</p>",
    ] {
        assert!(shown.contains(&place.replace('E', &escaped)), "{place}");
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

    /// What the page at this address tells the owner of its frame, and the address of the owner. The owner has not loaded
    /// until it is told: it loads empty frames meanwhile.
    fn told_by(&self, url: &str, frame: &str) -> (String, String) {
        let owner = "<!DOCTYPE html><title>nothing</title><body style='margin:0'><script>let told = false; \
                     onmessage = (event) => { told = true; document.title = event.data; }; \
                     const hold = () => { if (told || performance.now() > 20000) return; \
                     const frame = document.createElement('iframe'); frame.srcdoc = 'x'; \
                     frame.onload = () => { hold(); frame.remove(); }; document.body.append(frame); }; hold();</script>";
        let outer = self.write("outer.html", &format!("{owner}<iframe src='{url}' {frame}></iframe>"));
        let dom = self.dom(&outer);
        (dom.split_once("<title>").unwrap().1.split_once('<').unwrap().0.to_owned(), outer)
    }

    /// The document as the browser has it after the script.
    fn dom(&self, url: &str) -> String {
        let (dom, log) = self.run(&["--dump-dom", url]);
        assert!(!log.contains("CONSOLE"), "{log}");
        dom
    }
}

/// The page without its policy of contents, so that a test may add a script.
fn without_policy(page: &str) -> String {
    let (before, rest) = page.split_once("<meta http-equiv=").unwrap();
    before.to_owned() + rest.split_once('>').unwrap().1
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
    let measured = without_policy(&page(&report(), None))
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

/// Each load of `flipguard ui`'s page keeps what somebody is typing. The page is in a frame here: a script of the test types
/// before the second load, and tells the frame's owner what is there after it.
#[test]
fn a_reload_keeps_focus_and_caret() {
    let Some(browser) = Browser::find("reload") else { return };
    let live = Live { seconds: 1, stale: None };
    let types = "<script>(() => { const q = document.getElementById('q'); \
                 if (sessionStorage.getItem('typed')) { parent.postMessage([document.activeElement.id, q.value, \
                 q.selectionStart, q.selectionEnd].join(' '), '*'); return; } \
                 sessionStorage.setItem('typed', 'yes'); q.focus(); q.value = 'shop'; \
                 q.dispatchEvent(new Event('input', { bubbles: true })); q.setSelectionRange(1, 3); })()</script>";
    let inner = browser.write("inner.html", &(without_policy(&page(&report(), Some(&live))) + types));
    let (told, _) = browser.told_by(&inner, "");
    assert_eq!(told, "q shop 1 3");
}

/// A window of Chromium has at least 500 pixels, so the page is in a frame of 360 here. It tells the frame's owner how
/// wide it is, and how wide its first picture is.
#[test]
fn the_page_fits_a_phone() {
    let Some(browser) = Browser::find("phone") else { return };
    let tells = "<script>parent.postMessage([document.documentElement.scrollWidth, innerWidth, \
                 document.querySelector('svg').getBoundingClientRect().width, \
                 parseFloat(getComputedStyle(document.documentElement).fontSize)].map(Math.round).join(' '), '*')</script>";
    let inner = browser.write("inner.html", &(without_policy(&page(&report(), None)) + tells));
    let (title, outer) = browser.told_by(&inner, "width=360 height=1500 style='border:0'");
    let told: Vec<u32> = title.split(' ').map(|number| number.parse().unwrap_or_else(|_| panic!("{title}"))).collect();
    let [page, window, picture, rem] = told.try_into().unwrap();
    assert!(window == 360 && page <= window, "{title}");
    assert!(picture >= 26 * rem, "the text of the picture is too small: {title}");
    if let Some(kept) = std::env::var_os("SCREENSHOTS") {
        let file = Path::new(&kept).join("360.png");
        browser.run(&["--window-size=500,1500", &format!("--screenshot={}", file.display()), &outer]);
    }
}
