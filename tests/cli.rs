//! The command line without a cluster: what it prints and how it exits.
//!
//! Whatever goes wrong is said in one line that names the culprit, and never with a backtrace.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use flipguard::certs::Identity;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;
use time::OffsetDateTime;
use tokio::net::TcpSocket;

/// No command here has to wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a webhook may be.
const URL: &str = "https://127.0.0.1:10250";

#[test]
fn unknown_words() {
    let scene = Scene::new("unknown_words");
    scene.run(&["serve", "--nope"]).is_refused("'--nope'");
    scene.run(&["flop"]).is_refused("'flop'");
    scene.run(&["check", "-f", "x", "--output", "yaml"]).is_refused("'yaml' for '--output");
    scene.run(&["serve", "--external-url", URL, "--listen", "here"]).is_refused("'here' for '--listen");
    let exempt = |user: &str| scene.run(&["serve", "--external-url", URL, "--exempt-users", user]);
    exempt("controller, other").is_refused("--exempt-users <USER>': a user name is not empty and has no space around");
    exempt("").is_refused("'--exempt-users <USER>': a user name is not empty");
    exempt("system:masters").is_refused("it is a group, and only users can be exempt");
    exempt("system:serviceaccounts:kube-system").is_refused("it is a group");
    exempt("system:serviceaccount:deployer").is_refused("is `system:serviceaccount:NAMESPACE:NAME`");
    exempt("system:serviceaccount:ci:*").is_refused("names are compared as they are, without patterns");
    for command in ["serve", "manifests"] {
        let exempt = |names: &str| scene.run(&[command, "--exempt-namespaces", names]);
        exempt("ci,Team")
            .is_refused("'Team' for '--exempt-namespaces <NAMESPACE>': a namespace has at most 63 lower-case");
        exempt("ci-*").is_refused("names are compared as they are, without patterns");
        exempt("").is_refused("'--exempt-namespaces <NAMESPACE>': a namespace has at most");
    }
    let serve = |flag: &str, value: &str| scene.run(&["serve", "--external-url", URL, flag, value]);
    serve("--drain", "10").is_refused("'10' for '--drain <DURATION>': it must be a number with a unit, such as 10s");
    serve("--ca-propagation", "soon").is_refused("'soon' for '--ca-propagation <DURATION>': it must be a number with");
    serve("--intent-ttl", "90").is_refused("'90' for '--intent-ttl <DURATION>': it must be a number with a unit");
    serve("--intent-ttl", "2h").is_refused("'2h' for '--intent-ttl <DURATION>': it must be from 1m to 1h, such as 90s");
    // The API server may take a minute to commit what was admitted.
    serve("--intent-ttl", "59s").is_refused("it must be from 1m to 1h, such as 90s");
    serve("--concurrency", "loose").is_refused("'loose' for '--concurrency <CONCURRENCY>'");
    serve("--status-listen", "8080").is_refused("'8080' for '--status-listen <ADDRESS>': it must be an IP address and");
    scene.run(&["serve", "--external-url", URL, "--enforcement", "maybe"]).is_refused("'maybe' for '--enforcement");
    let nothing = scene.run(&[]);
    assert_eq!(nothing.code, Some(2));
    assert!(nothing.err.contains("Usage: flipguard <COMMAND>"), "{}", nothing.err);
}

/// What a shell completes that needs no cluster. The last line says whether names of files may follow.
#[test]
fn words_are_completed() {
    let scene = Scene::new("words_are_completed");
    let words = |words: &[&str]| {
        let done = scene.run(&[&["__complete"], words].concat());
        assert_eq!((done.code, done.err.as_str()), (Some(0), ""), "{words:?}");
        done.out.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(words(&["fl"]), ["flip", ":4"]);
    assert!(words(&["--"]).contains(&"--help".to_owned()), "`--` is a word like others");
    let flags = words(&["flip", "app", "--"]);
    assert!(flags.contains(&"--to".to_owned()) && flags.contains(&"--as-group".to_owned()), "{flags:?}");
    assert_eq!(words(&["status", "-o", "w"]), ["wide", ":4"]);
    assert_eq!(words(&["check", "-f", ""]), [":0"]);
    // There is no cluster, so there is no Service, and no error either.
    assert_eq!(words(&["flip", ""]), [":4"]);
    assert_eq!(words(&[]).last().unwrap(), ":4");
}

/// flipguard does not guard its own namespace, so that must not be one with apps.
#[test]
fn namespaces_that_flipguard_may_not_run_in() {
    let scene = Scene::new("namespaces_that_flipguard_may_not_run_in");
    for namespace in ["default", "kube-system", "kube-public"] {
        let words = format!("cannot run in namespace {namespace}, because flipguard does not guard its own namespace");
        let serve = scene.run(&["serve", "--external-url", URL, "--namespace", namespace]);
        serve.fails(1, &[&words, "with --namespace, such as flipguard-system"]);
        scene.run(&["manifests", "--namespace", namespace]).is_refused(&words);
    }
    for (namespace, command) in ["", "Team A", "a_b"].into_iter().zip(["manifests", "doctor", "manifests"]) {
        let words = format!("'{namespace}' for '--namespace <NAMESPACE>': no namespace can be named `{namespace}`: a");
        scene.run(&[command, "--namespace", namespace]).is_refused(&words);
    }
    let serve = scene.run(&["serve", "--external-url", URL, "--namespace", "Team A"]);
    serve.fails(1, &["no namespace can be named `Team A`", "such as flipguard-system"]);
    let image = |image: &str| scene.run(&["manifests", "--image", image]);
    image("").is_refused("'' for '--image <IMAGE>': it is empty; give the reference of an image, such as");
    image("two words").is_refused("'two words' for '--image <IMAGE>': a reference has only letters");
    image("flipguard:").is_refused("'flipguard:' for '--image <IMAGE>': its tag, digest or name is missing");
    let manifests = scene.run(&["manifests", "--namespace", "guard", "--exempt-namespaces", "ci,builds"]);
    assert_eq!(manifests.code, Some(0), "{}", manifests.err);
    assert!(manifests.out.contains("- --exempt-namespaces=ci,builds\n"), "{}", manifests.out);
    assert!(manifests.out.contains("name: flipguard:guard\n"), "{}", manifests.out);
}

#[test]
fn the_external_url() {
    let scene = Scene::new("the_external_url");
    // Outside a cluster, there is no Service to be called by.
    scene.run(&["serve"]).fails(1, &["outside a cluster", "give --external-url, such as https://127.0.0.1:10250"]);
    for command in ["serve", "manifests"] {
        let url = |url: &str| scene.run(&[command, "--external-url", url]);
        url("http://127.0.0.1:10250").is_refused("it must begin with https://");
        url("127.0.0.1:10250").is_refused("it must begin with https://");
        url("https://guard.example:10250/validate").is_refused("it must end after the host and port");
        url("https://guard.example:10250/?a=b").is_refused("it must end after the host and port");
        url("https://").is_refused("--external-url");
        url("https://two words").is_refused("--external-url");
    }
}

#[test]
fn kubeconfigs_that_cannot_be_used() {
    let scene = Scene::new("kubeconfigs_that_cannot_be_used");
    let serve = |kubeconfig: &str| scene.run(&["serve", "--external-url", URL, "--kubeconfig", kubeconfig]);
    serve("missing").fails(1, &["cannot use kubeconfig `missing`", "No such file", "give another with --kubeconfig"]);
    scene.file("broken", "clusters: [unclosed\n");
    serve("broken").fails(1, &["cannot use kubeconfig `broken`", "YAML", "line 1", "give another with --kubeconfig"]);
    scene.file("words", "these are just words\n");
    serve("words").fails(1, &["cannot use kubeconfig `words`", "give another with --kubeconfig"]);
    scene.file("empty", "");
    serve("empty").fails(1, &["cannot use kubeconfig `empty`", "context", "give another with --kubeconfig"]);
    // Without the flag and outside a cluster, there is nothing to talk to.
    scene.run(&["serve", "--external-url", URL]).fails(1, &["no cluster to talk to", "--kubeconfig"]);
}

/// An X.509 certificate of version 1, as `openssl x509 -req` made them by default until OpenSSL 3.2.
const VERSION_1: &str = "\
-----BEGIN CERTIFICATE-----
MIIBGTCBvwIUcNF0cVJam0TsdvEW1IGzwqa+8oIwCgYIKoZIzj0EAwIwDjEMMAoG
A1UEAwwDb2xkMCAXDTI2MTEyNjAxNDQxMloYDzIxMjYxMTAyMDE0NDEyWjAOMQww
CgYDVQQDDANvbGQwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAShq1gCq98p7NaA
+NlL86JiXV6giGLssI21yzt6tKnvw3/aPCQm8s+QSln/QUIV87VKqjkrbq3RyPG1
iakSlnmTMAoGCCqGSM49BAMCA0kAMEYCIQDWC3++z4aogUqAoKSvXY2Pgz4xjxFZ
4yaDB/u86K9kSAIhAOj0rXaJHX8aTFsOurPbfRymU1qGM48L6sa6Wi5+qHXx
-----END CERTIFICATE-----
";

/// A kubeconfig whose user and cluster have these fields.
fn kubeconfig(server: &str, cluster: &str, user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: there\n\
         clusters: [{{name: east, cluster: {{server: 'https://{server}'{cluster}}}}}]\n\
         contexts: [{{name: there, context: {{cluster: east, user: alice}}}}]\n\
         users: [{{name: alice, user: {{{user}}}}}]\n"
    )
}

/// None of these is the API server's fault, and each names the file or the field that is to be mended.
#[test]
fn credentials_that_cannot_be_used() {
    let scene = Scene::new("credentials_that_cannot_be_used");
    let now = OffsetDateTime::now_utc();
    let [alice, other] = [(); 2].map(|()| Identity::issue(&["alice".to_owned()], now).unwrap());
    scene.file("alice.crt", &alice.leaf);
    scene.file("alice.key", &alice.leaf_key);
    scene.file("other.key", &other.leaf_key);
    scene.file("old.crt", VERSION_1);
    scene.file("empty.crt", "");
    let fails = |cluster: &str, user: &str, words: &[&str]| {
        scene.file("config", &kubeconfig("127.0.0.1:1", cluster, user));
        for command in [&["serve", "--external-url", URL][..], &["doctor"]] {
            let run = scene.run(&[command, &["--kubeconfig", "config"]].concat());
            let code = if command == ["doctor"] { 2 } else { 1 };
            run.fails(code, &[&["cannot use kubeconfig `config`: "], words].concat());
            assert!(!run.err.contains("check the address"), "{}", run.err);
        }
    };
    let files = |certificate: &str, key: &str| format!("client-certificate: {certificate}, client-key: {key}");
    let certificate = |certificate: &str, words: &[&str]| {
        let user = files(certificate, "alice.key");
        fails("", &user, &[&[format!("{certificate}` (client-certificate of user `alice`)").as_str()], words].concat());
    };
    certificate("old.crt", &["is an X.509 certificate of version 1", "version 3"]);
    certificate("missing.crt", &["cannot be read: No such file"]);
    certificate("empty.crt", &["holds no PEM certificate"]);
    let key = |key: &str, words: &[&str]| {
        let user = files("alice.crt", key);
        fails("", &user, &[&[format!("{key}` (client-key of user `alice`)").as_str()], words].concat());
    };
    key("other.key", &["does not belong to the certificate", "alice.crt` (client-certificate of user `alice`)"]);
    key("missing.key", &["cannot be read: No such file"]);
    key("alice.crt", &["holds no private key"]);
    fails("", "client-certificate: alice.crt", &["user `alice` has a client-certificate, but no client-key"]);
    let inline = "client-certificate-data: '!', client-key: alice.key";
    fails("", inline, &["client-certificate-data of user `alice` is not base64"]);
    let inline = "client-certificate: alice.crt, client-key-data: eA==";
    fails("", inline, &["client-key-data of user `alice` holds no private key"]);
    let cluster = ", certificate-authority: missing.crt";
    fails(
        cluster,
        "token: t",
        &["missing.crt` (certificate-authority of cluster `east`) cannot be read: No such file"],
    );
    let cluster = ", certificate-authority-data: eA==";
    fails(cluster, "token: t", &["certificate-authority-data of cluster `east` holds no PEM certificate"]);
    fails("", "tokenFile: missing", &["missing` (tokenFile of user `alice`) cannot be read: No such file"]);
    scene.file("token", "secret-word\n");
    fails("", "tokenFile: token", &["token` (tokenFile of user `alice`) ends with a line break", "printf %s"]);
    fails("", "token: \"secret-word\\n\"", &["token of user `alice` ends with a line break"]);
    fails("", "token: \"secret\\nword\"", &["token of user `alice` is no token: it has control characters"]);
    let exec = "exec: {apiVersion: client.authentication.k8s.io/v1, command: no-such-plugin, interactiveMode: Never}";
    fails("", exec, &["the credentials plugin `no-such-plugin` of user `alice` cannot be run: No such file"]);
    let exec = "exec: {apiVersion: client.authentication.k8s.io/v1, command: sh, interactiveMode: Never, \
                args: ['-c', 'echo secret-word; echo log in first >&2; exit 3']}";
    fails("", exec, &["the credentials plugin `sh` of user `alice` ended with exit status: 3: log in first"]);
    assert!(!scene.run(&["doctor", "--kubeconfig", "config"]).err.contains("secret-word"));
    // KUBECONFIG is named as the flag is.
    fs::rename(scene.folder.join("config"), scene.folder.join("other")).unwrap();
    fs::create_dir(scene.folder.join(".kube")).unwrap();
    scene.file(".kube/config", &kubeconfig("127.0.0.1:1", "", "tokenFile: missing"));
    scene.run(&["doctor"]).fails(2, &["cannot use kubeconfig `", ".kube/config`: ", "(tokenFile of user `alice`)"]);
}

/// Who answers is no API server, or one of another cluster.
#[test]
fn an_api_server_that_is_another() {
    let scene = Scene::new("an_api_server_that_is_another");
    let now = OffsetDateTime::now_utc();
    let [ours, theirs] = [(); 2].map(|()| Identity::issue(&["127.0.0.1".to_owned()], now).unwrap());
    scene.file("ours.crt", &ours.authority);
    scene.file("theirs.crt", &theirs.authority);
    let doctor = |server: SocketAddr, ca: &str| {
        let cluster = format!(", certificate-authority: {ca}");
        scene.file("config", &kubeconfig(&server.to_string(), &cluster, "token: secret-word"));
        let run = scene.run(&["doctor", "--kubeconfig", "config"]);
        assert!(!run.err.contains("secret-word"), "{}", run.err);
        run
    };
    let page = "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 5\r\nConnection: close\r\n\r\n<html";
    let server = answers(&ours, page);
    doctor(server, "theirs.crt").fails(
        2,
        &[
            &format!("cannot trust the API server at https://{server}"),
            "UnknownIssuer",
            "certificate-authority",
            "clock",
        ],
    );
    let server = answers(&ours, page);
    doctor(server, "ours.crt")
        .fails(2, &[&format!("the API server at https://{server}"), "answered with HTTP status 502"]);
    let status = |code: u16, words: &str| {
        let body =
            format!(r#"{{"kind":"Status","apiVersion":"v1","status":"Failure","message":"{words}","code":{code}}}"#);
        format!(
            "HTTP/1.1 {code} No\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    };
    let unauthorized = answers(&ours, &status(401, "Unauthorized"));
    doctor(unauthorized, "ours.crt").fails(2, &["does not accept the credentials: Unauthorized", "renew the token"]);
    let forbidden = answers(&ours, &status(403, "alice cannot get path /version"));
    let forbidden = doctor(forbidden, "ours.crt");
    forbidden.fails(2, &["does not permit GET /version: alice cannot get path", "system:public-info-viewer"]);
    assert!(!forbidden.err.contains("renew"), "{}", forbidden.err);
}

/// Serves one text to everybody who connects, over TLS.
fn answers(identity: &Identity, text: &str) -> SocketAddr {
    answers_in_turn(identity, vec![text.to_owned()])
}

/// Serves one text after the other over TLS, and the last one from then on.
fn answers_in_turn(identity: &Identity, texts: Vec<String>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let key = PrivateKeyDer::from_pem_slice(identity.leaf_key.as_bytes()).unwrap();
    let chain = flipguard::certs::pem::certificates(&identity.leaf).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let config = Arc::new(config);
    std::thread::spawn(move || {
        let mut texts = texts.iter().peekable();
        for stream in listener.incoming() {
            let connection = ServerConnection::new(config.clone()).unwrap();
            let mut stream = StreamOwned::new(connection, stream.unwrap());
            // A client that does not trust this hangs up.
            if stream.read(&mut [0; 4096]).is_ok() {
                let text = if texts.len() > 1 { texts.next() } else { texts.peek().copied() };
                let _ = stream.write_all(text.unwrap().as_bytes());
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        }
    });
    address
}

/// 1 says that something is broken; that it could not be looked at is something else.
#[test]
fn the_doctor_without_a_cluster() {
    let scene = Scene::new("the_doctor_without_a_cluster");
    scene.run(&["doctor"]).fails(2, &["no cluster to talk to", "--kubeconfig"]);
    scene.run(&["doctor", "--output", "yaml"]).is_refused("'yaml' for '--output");
}

#[test]
fn an_api_server_that_refuses_the_connection() {
    let scene = Scene::new("an_api_server_that_refuses_the_connection");
    // Bound, so that no other process gets the port, but without a listener.
    let held = TcpSocket::new_v4().unwrap();
    held.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let closed = held.local_addr().unwrap();
    scene.file(
        "kubeconfig",
        &format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
             clusters: [{{name: c, cluster: {{server: 'https://{closed}'}}}}]\n\
             contexts: [{{name: c, context: {{cluster: c, user: c}}}}]\n\
             users: [{{name: c, user: {{token: secret-word}}}}]\n"
        ),
    );
    scene
        .run(&["doctor", "--kubeconfig", "kubeconfig"])
        .fails(2, &[&format!("cannot reach the API server at https://{closed}"), "refused", "check the address"]);
    let mut serving = Serving::start(&scene, &["--kubeconfig", "kubeconfig"]);
    assert!(serving.ask("/livez").starts_with("HTTP/1.1 200"));
    let reason = format!("starting: cannot reach the API server at https://{closed}");
    serving.until("/readyz", &["503", &reason, "refused"]);
    // Without a certificate, a handshake fails at once.
    let mut client = TcpStream::connect(serving.reviews).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let hello = [0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0];
    client.write_all(&hello).unwrap();
    assert!(client.read(&mut [0; 64]).is_ok(), "the handshake hangs");
    // It ends at once, since nothing is to be drained.
    let asked = Instant::now();
    let log = serving.terminate();
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert!(log.contains("cannot start yet; this is tried again") && log.contains("stopped"), "{log}");
    assert!(!log.contains("secret-word") && !log.contains("ServiceError"), "{log}");
}

/// A running `flipguard serve`.
struct Serving {
    process: Child,
    log: BufReader<ChildStderr>,
    reviews: SocketAddr,
    status: SocketAddr,
}

impl Serving {
    /// Starts it on ports of its own, and waits until it listens.
    fn start(scene: &Scene, args: &[&str]) -> Self {
        let any = "127.0.0.1:0";
        let args = [&["serve", "--external-url", URL, "--listen", any, "--status-listen", any], args].concat();
        let mut process = scene.command(&args).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let mut line = String::new();
        log.read_line(&mut line).unwrap();
        let first: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let address = |field: &str| first.get(field).and_then(Value::as_str).unwrap().parse().unwrap();
        let (reviews, status) = (address("listen"), address("status_listen"));
        Self { process, log, reviews, status }
    }

    fn ask(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.status).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: status\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Asks until the answer has all these words.
    fn until(&self, path: &str, words: &[&str]) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.ask(path);
            if words.iter().all(|words| answer.contains(words)) {
                return;
            }
            assert!(Instant::now() < deadline, "{path} does not say {words:?}: {answer}");
            sleep(Duration::from_millis(20));
        }
    }

    /// Ends it by SIGTERM, and returns the rest of its log.
    fn terminate(&mut self) -> String {
        let killed = Command::new("kill").arg(self.process.id().to_string()).status().unwrap();
        assert!(killed.success());
        let mut log = String::new();
        self.log.read_to_string(&mut log).unwrap();
        let status = self.process.wait().unwrap();
        assert!(status.success(), "{status}: {log}");
        log
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_log_filter_that_cannot_be_used() {
    let serve = Command::new(env!("CARGO_BIN_EXE_flipguard"))
        .args(["serve", "--external-url", URL, "--kubeconfig", "missing"])
        .env("RUST_LOG", "flipguard=loud")
        .output()
        .unwrap();
    let error = String::from_utf8(serve.stderr).unwrap();
    assert_eq!(serve.status.code(), Some(1), "{error}");
    assert!(error.starts_with("flipguard: cannot use RUST_LOG `flipguard=loud`: "), "{error}");
}

#[test]
fn version() {
    let scene = Scene::new("version");
    let text = scene.run(&["version"]);
    assert_eq!((text.code, text.out.as_str()), (Some(0), concat!("flipguard ", env!("CARGO_PKG_VERSION"), "\n")));
    let json = scene.run(&["version", "-o", "json"]);
    assert_eq!(json.code, Some(0));
    assert_eq!(json.json()["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn files_that_check_cannot_use() {
    let scene = Scene::new("files_that_check_cannot_use");
    let check = |file: &str, text: &str| {
        scene.file(file, text);
        scene.run(&["check", "-f", file])
    };
    scene.run(&["check"]).is_refused_further_down("--change <FILE>");
    scene.run(&["check", "-f", "missing"]).fails(2, &["cannot read `missing`", "No such file"]);
    scene.run(&["check", "-f", "."]).fails(2, &["cannot read `.`"]);
    check("broken", "spec: [unclosed\n").fails(2, &["`broken` is neither YAML nor JSON", "line 1"]);
    check("broken.json", "{\"kind\": \"Service\",").fails(2, &["`broken.json` is neither YAML nor JSON"]);
    check("empty", "").fails(2, &["there is no object in empty"]);
    check("dashes", "---\n---\n").fails(2, &["there is no object in dashes"]);
    check("no-items", "{kind: List, items: []}").fails(2, &["there is no object in no-items"]);
    check("words", "these are just words\n").fails(2, &["words, object 1", "`kind` is missing"]);
    check("kindless", "metadata: {name: app}\n").fails(2, &["kindless, object 1", "`kind` is missing"]);
    check("second", "kind: ConfigMap\nmetadata: {name: a}\n---\nmetadata: {name: b}\n")
        .fails(2, &["second, object 2", "`kind` is missing"]);
    scene.file("good", &service("1.0"));
    scene.run(&["check", "-f", "good", "-c", "missing"]).fails(2, &["cannot read `missing`"]);
    scene.run(&["check", "-f", "good", "-c", "broken"]).fails(2, &["`broken` is neither YAML nor JSON"]);
}

/// YAML reads `version: 2.0` as a number; it is the commonest mistake with a version selector.
/// What cannot be judged is never allowed by mistake.
/// The pair that `policy init` prints is valid, and its two policies never select the same namespace.
#[test]
fn policies_to_begin_with() {
    let scene = Scene::with_cluster("policies_to_begin_with");
    let init = scene.run(&["policy", "init"]);
    assert_eq!((init.code, init.err.as_str()), (Some(0), ""));
    assert_eq!(init.out, include_str!("../examples/policies/trial.yaml"), "the recipe of docs/policy.md");
    scene.file("pair", &init.out);
    let check = |cluster: &str| {
        let args = ["check", "-f", "flip", "--cluster", "starting", cluster, "-n", "shop", "--policy", "pair"];
        scene.run(&args)
    };
    let namespace =
        |labels: &str| format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: shop, labels: {labels}}}}}");
    scene.file("guarded", &namespace("{a: b}"));
    scene.file("on-trial", &namespace("{flipguard.dev/trial: ''}"));
    let cluster = |file: &str| format!("--cluster={file}");
    let denied = check(&cluster("guarded"));
    assert_eq!(denied.code, Some(1), "{}{}", denied.out, denied.err);
    let warned = check(&cluster("on-trial"));
    assert_eq!(warned.code, Some(0), "{}{}", warned.out, warned.err);
    assert!(warned.out.contains("would be denied"), "{}", warned.out);
    // Without the labels of the namespace, nobody knows which of the two counts.
    let without = scene.run(&["check", "-f", "flip", "--cluster", "starting", "-n", "shop", "--policy", "pair"]);
    without.fails(2, &["selects namespaces by labels", "kubectl get namespace shop -o yaml"]);
}

/// A policy in a file is checked field by field, before a cluster is asked.
#[test]
fn policies_that_the_api_server_would_refuse() {
    let scene = Scene::with_cluster("policies_that_the_api_server_would_refuse");
    let policy = |spec: &str| {
        format!("{{apiVersion: flipguard.dev/v1alpha1, kind: BlueGreenPolicy, metadata: {{name: p}}, spec: {spec}}}")
    };
    for (spec, words) in [
        (
            "{namespaceSelector: {}, live: {floor: 0}}",
            "`spec.live.floor`: `0` is out of bounds; it must be from 1 to 1000",
        ),
        ("{namespaceSelector: {}, live: {flor: 1}}", "`spec.live.flor`: there is no such field"),
        ("{enforcement: Deny}", "`spec.namespaceSelector`: it is missing"),
        ("{namespaceSelector: {}, rollback: {hold: 25h}}", "`spec.rollback.hold`: `25h`: it may be at most 24h"),
        ("{namespaceSelector: {}, rules: [{rule: held-delted, action: Warn}]}", "held-deleted, perhaps?"),
    ] {
        scene.file("bad", &policy(spec));
        let check = ["check", "-f", "flip", "--cluster", "ready", "-n", "shop", "--policy", "bad"];
        scene.run(&check).fails(2, &["bad, object 1: BlueGreenPolicy p: ", words]);
        scene.run(&["policy", "test", "-f", "bad"]).fails(2, &["bad, object 1: BlueGreenPolicy p: ", words]);
    }
    let other = scene.run(&["policy", "test", "-f", "flip"]);
    other.fails(2, &["flip, object 1: it is Service app; only BlueGreenPolicy of flipguard.dev/v1alpha1 is read here"]);
    scene.run(&["policy", "test", "-f", "missing"]).fails(2, &["cannot read `missing`", "No such file"]);
    scene.run(&["policy", "test"]).is_refused("required");
    scene.file("good", &policy("{namespaceSelector: {}}"));
    scene.run(&["policy", "test", "-f", "good"]).fails(2, &["no cluster to talk to", "--kubeconfig"]);
    scene.run(&["policy", "explain"]).fails(2, &["no cluster to talk to", "--kubeconfig"]);
    let context = ["policy", "explain", "--kubeconfig", "config", "--context", "elsewhere"];
    scene.file("config", &kubeconfig("127.0.0.1:1", "", ""));
    scene.run(&context).fails(2, &["kubeconfig `config`: it has no context `elsewhere` (--context), only there"]);
}

/// What is wrong is said before a cluster is asked, and the table of checks needs none.
#[test]
fn looks_at_a_cluster_that_cannot_begin() {
    let scene = Scene::new("looks_at_a_cluster_that_cannot_begin");
    for command in ["status", "audit"] {
        scene.run(&[command]).fails(2, &["no cluster to talk to", "--kubeconfig"]);
        scene.run(&[command, "--context", "x"]).fails(2, &["no kubeconfig with the context `x`"]);
        scene.run(&[command, "-o", "yaml"]).is_refused("'yaml' for '--output");
    }
    scene.run(&["status", "-n", "shop", "-A"]).is_refused("cannot be used with");
    scene.run(&["status", "-l", "app in (a)"]).is_refused("it must be like app=shop");
    scene.run(&["status", "--wait", "--for", "peace"]).is_refused("'peace' for '--for");
    scene.run(&["status", "--timeout", "5m"]).is_refused("required");
    scene.run(&["audit", "--workers", "0"]).is_refused("'0' for '--workers");
    scene.run(&["audit", "--baseline", "missing"]).fails(2, &["cannot read `missing` (--baseline)", "No such file"]);
    scene.file("other", "{}");
    scene
        .run(&["audit", "--baseline", "other"])
        .fails(2, &["has no findings; it must be the output of flipguard audit"]);
    let checks = scene.run(&["audit", "--checks"]);
    assert!(checks.code == Some(0) && checks.out.contains("## pdb-spans-colours"), "{}", checks.out);
}

/// A busy API server is asked again, after the time that it asks for.
#[test]
fn a_busy_api_server_is_asked_again() {
    let scene = Scene::new("a_busy_api_server_is_asked_again");
    let ours = Identity::issue(&["127.0.0.1".to_owned()], OffsetDateTime::now_utc()).unwrap();
    scene.file("ours.crt", &ours.authority);
    let answer = |code: &str, header: &str, body: &str| {
        let kind = "Content-Type: application/json";
        format!(
            "HTTP/1.1 {code}\r\n{kind}\r\n{header}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    };
    let busy = || answer("429 Too Many Requests", "Retry-After: 1\r\n", "too many requests, please try again later");
    let version = answer(
        "200 OK",
        "",
        r#"{"major":"1","minor":"36","gitVersion":"v1.36.3","gitCommit":"","gitTreeState":"","buildDate":"","goVersion":"","compiler":"","platform":""}"#,
    );
    let none = answer("404 Not Found", "", "404 page not found");
    let server = answers_in_turn(&ours, vec![busy(), busy(), version, none]);
    scene.file("kubeconfig", &kubeconfig(&server.to_string(), ", certificate-authority: ours.crt", "token: x"));
    let started = Instant::now();
    let audit = scene.run(&["audit", "-n", "shop", "--kubeconfig", "kubeconfig", "-o", "json"]);
    assert!(started.elapsed() >= Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!(audit.code, Some(2), "{}{}", audit.out, audit.err);
    assert!(!audit.out.contains("429") && audit.out.contains("404"), "{}", audit.out);
    let server = answers_in_turn(&ours, vec![answer("503 Service Unavailable", "", "down")]);
    scene.file("kubeconfig", &kubeconfig(&server.to_string(), ", certificate-authority: ours.crt", "token: x"));
    scene.run(&["audit", "--kubeconfig", "kubeconfig"]).fails(2, &["503"]);
}

/// A policy counts in `check` as it would in the cluster, and the denial names it.
#[test]
fn check_by_a_policy() {
    let scene = Scene::with_cluster("check_by_a_policy");
    let check = |policy: &str| {
        scene.file(
            "policy",
            &format!(
                "{{apiVersion: flipguard.dev/v1alpha1, kind: BlueGreenPolicy, metadata: {{name: production}}, \
                 spec: {{namespaceSelector: {{}}, {policy}}}}}"
            ),
        );
        scene.run(&["check", "-f", "flip", "--cluster", "ready", "-n", "shop", "--policy", "policy"])
    };
    let passes = check("flip: {parityPercent: 100}");
    assert_eq!(passes.code, Some(0), "{}{}", passes.out, passes.err);
    let denied = check("flip: {parityPercent: 1000}, rules: [{rule: capacity-below-live, action: Deny}]");
    assert_eq!(denied.code, Some(1), "{}{}", denied.out, denied.err);
    assert!(denied.out.contains("(capacity-below-live, policy production)"), "{}", denied.out);
}

#[test]
fn check_never_guesses() {
    let scene = Scene::with_cluster("check_never_guesses");
    scene
        .run(&["check", "-f", "flip"])
        .fails(2, &["a change cannot be judged without the cluster; give --cluster FILE"]);
    scene.file("nothing", "");
    scene
        .run(&["check", "-f", "flip", "-c", "nothing"])
        .fails(2, &["the cluster files hold no Service app in namespace"]);
    scene.file("elsewhere", "kind: Service\nmetadata: {name: app}\nspec: {selector: {version: '2.0'}}\n");
    scene
        .run(&["check", "-f", "elsewhere", "-c", "ready"])
        .fails(2, &["hold Service app in namespace shop, not in default; give --namespace shop"]);
    scene.file("services-only", &service("1.0"));
    let only = scene.run(&["check", "-f", "flip", "-c", "services-only"]);
    assert_eq!(only.code, Some(2), "{}", only.out);
    assert!(only.out.contains("workloads and pods in namespace shop: the files hold none. Export all"), "{}", only.out);
    scene.run(&["check", "-f", "-", "-c", "-"]).fails(2, &["standard input (`-`) can be read only once"]);
    scene.file("nameless", "kind: Service\nspec: {}\n");
    scene
        .run(&["check", "-f", "nameless", "-c", "ready"])
        .fails(2, &["nameless, object 1", "`metadata.name` is missing"]);
    scene.file("knative", &service("2.0").replace("apiVersion: v1", "apiVersion: serving.knative.dev/v1"));
    let knative = scene.run(&["check", "-f", "knative", "-c", "starting"]);
    assert!(knative.out.contains("no rule applies to this change"), "{}", knative.out);
}

/// The parser shows the lines around an error; those of a kubeconfig are secret.
#[test]
fn a_broken_kubeconfig_is_not_shown() {
    let scene = Scene::new("a_broken_kubeconfig_is_not_shown");
    scene.file("kubeconfig", "apiVersion: v1\nkind: Config\nusers:\n- name: c\n  user:\n    token: [SUPERSECRET]\n");
    let serve = scene.run(&["serve", "--kubeconfig", "kubeconfig", "--external-url", "https://127.0.0.1:1"]);
    assert!(!serve.err.contains("SUPERSECRET"), "{}", serve.err);
    serve.fails(1, &["cannot use kubeconfig `kubeconfig`"]);
}

#[test]
fn a_label_that_is_a_number_is_named() {
    let scene = Scene::new("a_label_that_is_a_number_is_named");
    scene.file("change", &service("2.0").replace('"', ""));
    scene
        .run(&["check", "-f", "change", "-c", "change"])
        .fails(2, &["change, object 1", "Service app", "`spec.selector.version`", "2.0", "put it in quotes"]);
    scene.file("change", &service("2.0"));
    let deployment = "kind: Deployment\nmetadata: {name: app-green, namespace: shop}\n\
                      spec: {template: {metadata: {labels: {version: 2.0}}}}\n";
    scene.file("cluster", &format!("{}---\n{deployment}", service("1.0")));
    scene
        .run(&["check", "-f", "change", "-c", "cluster"])
        .fails(2, &["cluster, object 2", "Deployment app-green", "`spec.template.metadata.labels.version`", "2.0"]);
}

#[test]
fn exit_codes_of_check() {
    let scene = Scene::with_cluster("exit_codes_of_check");
    let flip = |cluster: &str| scene.run(&["check", "-f", "flip", "-c", cluster]);
    let allowed = flip("ready");
    assert_eq!(allowed.code, Some(0), "{}", allowed.err);
    assert_eq!(allowed.out, "allowed: service shop/app, flip version 1.0 -> 2.0\n");

    let denied = flip("starting");
    assert_eq!(denied.code, Some(1), "{}{}", denied.out, denied.err);
    assert!(
        denied.out.starts_with(
            "denied: service shop/app: flip version 1.0 -> 2.0 denied (target-not-ready): \
             Deployment app-green has 0 of 1 pods ready (app-green-1-a: ImagePullBackOff). Fix it, then retry.\n  \
             kubectl -n shop describe pod app-green-1-a\n"
        ),
        "{}",
        denied.out
    );
    assert_eq!(denied.err, "");

    let unknown = flip("without-pods");
    assert_eq!(unknown.code, Some(2), "{}{}", unknown.out, unknown.err);
    assert!(unknown.out.contains("(cluster-unreadable): cannot read pods in namespace shop"), "{}", unknown.out);

    // The worst of several counts.
    let both = scene.run(&["check", "-f", "stay", "-f", "flip", "-c", "starting"]);
    assert_eq!(
        (both.code, both.out.lines().next()),
        (Some(1), Some("allowed: Service shop/app: no rule applies to this change"))
    );

    for flag in [&["--dry-run"] as &[&str], &["--enforcement", "warn"]] {
        let warned = scene.run(&[&["check", "-f", "flip", "-c", "starting"], flag].concat());
        assert_eq!(warned.code, Some(0), "{flag:?}: {}", warned.out);
        assert!(warned.out.contains("would be denied"), "{}", warned.out);
    }
}

#[test]
fn verdicts_as_json() {
    let scene = Scene::with_cluster("verdicts_as_json");
    let denied = scene.run(&["check", "-f", "flip", "-c", "starting", "--output", "json"]);
    assert_eq!(denied.code, Some(1), "{}", denied.err);
    let verdict = &denied.json()[0];
    assert_eq!(verdict["subject"], "service shop/app");
    assert_eq!(verdict["judged"], true);
    assert_eq!(verdict["outcome"], "denied");
    assert_eq!(verdict["summary"], "flip version 1.0 -> 2.0");
    assert_eq!(verdict["findings"][0]["reason"], "target-not-ready");
    assert_eq!(verdict["findings"][0]["effect"], "deny");
    let remedy = &verdict["findings"][0]["remedies"][0];
    assert_eq!(remedy["words"], "Fix it, then retry");
    assert_eq!(remedy["command"], "kubectl -n shop describe pod app-green-1-a");
    assert_eq!(verdict["warnings"], Value::Array(vec![]));

    let allowed = scene.run(&["check", "-f", "flip", "-f", "stay", "-c", "ready", "-o", "json"]);
    assert_eq!(allowed.code, Some(0), "{}", allowed.err);
    let verdicts = allowed.json();
    assert_eq!(verdicts.as_array().unwrap().len(), 2);
    assert_eq!((&verdicts[0]["outcome"], &verdicts[0]["findings"]), (&"allowed".into(), &Value::Array(vec![])));
    assert_eq!((&verdicts[1]["outcome"], &verdicts[1]["judged"]), (&"allowed".into(), &false.into()));
}

/// One file or several, one document or several, Lists, JSON, standard input: the same verdict.
#[test]
fn the_same_objects_in_other_clothes() {
    let scene = Scene::with_cluster("the_same_objects_in_other_clothes");
    let plain = scene.run(&["check", "-f", "flip", "-c", "starting"]);
    assert_eq!(plain.code, Some(1));
    let same = |what: &str, run: &Run| {
        assert_eq!((run.code, &run.out), (plain.code, &plain.out), "{what}: {}", run.err);
    };
    same("standard input", &scene.pipe(&["check", "-f", "-", "-c", "starting"], &service("2.0")));
    let cluster = fs::read_to_string(scene.folder.join("starting")).unwrap();
    same("the cluster by standard input", &scene.pipe(&["check", "-f", "flip", "-c", "-"], &cluster));

    let documents: Vec<&str> = cluster.split("---\n").collect();
    let mut command = vec!["check".to_owned(), "-f".to_owned(), "flip".to_owned()];
    for (index, document) in documents.iter().enumerate() {
        scene.file(&format!("part-{index}"), document);
        command.extend(["-c".to_owned(), format!("part-{index}")]);
    }
    same("one file an object", &scene.run(&command.iter().map(String::as_str).collect::<Vec<_>>()));

    let items: Vec<Value> = documents.iter().map(|document| serde_saphyr::from_str(document).unwrap()).collect();
    let list = serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": items });
    scene.file("list.json", &serde_json::to_string_pretty(&list).unwrap());
    same("a List in JSON", &scene.run(&["check", "-f", "flip", "-c", "list.json"]));
    scene.file("list.yaml", &serde_saphyr::to_string(&list).unwrap());
    same("a List in YAML", &scene.run(&["check", "-f", "flip", "-c", "list.yaml"]));
}

#[test]
fn cases_by_hand() {
    let scene = Scene::new("cases_by_hand");
    let case = |outcome: &str| {
        format!(
            "shows: A case.\nfrom: {{color: blue}}\nto: {{color: green}}\n\
             cluster:\n  - {{deployment: blue, labels: {{color: blue}}}}\nexpect: {{outcome: {outcome}{}}}\n",
            if outcome == "denied" { ", findings: [target-missing=deny]" } else { "" }
        )
    };
    scene.file("right", &case("denied"));
    let right = scene.run(&["check", "--case", "right"]);
    assert_eq!(right.code, Some(1), "{}{}", right.out, right.err);
    assert!(right.out.starts_with("denied: service shop/app: flip color blue -> green denied (target-missing): "));
    scene.file("wrong", &case("allowed"));
    let wrong = scene.run(&["check", "--case", "right", "wrong"]);
    assert_eq!(wrong.code, Some(2));
    assert!(
        wrong.err.starts_with("wrong: differs from the expected verdict: it is Denied, not Allowed"),
        "{}",
        wrong.err
    );
    assert!(wrong.err.ends_with("flipguard: 1 of 2 cases differ from their expected verdict\n"), "{}", wrong.err);
    scene.run(&["check", "--case", "right", "-f", "x"]).is_refused("cannot be used with");
}

/// A folder of files, and the binary run in it.
struct Scene {
    folder: PathBuf,
}

/// What came of a run.
struct Run {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Scene {
    fn new(name: &str) -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("cli").join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        Self { folder }
    }

    /// With a live blue in three clusters: beside a `ready` green, beside a `starting` one, and an export that is
    /// `without-pods`. `flip` moves to green, `stay` changes nothing.
    fn with_cluster(name: &str) -> Self {
        let scene = Self::new(name);
        scene.file("flip", &service("2.0"));
        scene.file("stay", &service("1.0"));
        let cluster = |green_is_ready: bool| {
            [vec![service("1.0")], colour("app-blue", "1.0", true), colour("app-green", "2.0", green_is_ready)].concat()
        };
        scene.file("ready", &cluster(true).join("---\n"));
        scene.file("starting", &cluster(false).join("---\n"));
        let without_pods: Vec<String> =
            cluster(true).into_iter().filter(|object| !object.contains("kind: Pod\n")).collect();
        scene.file("without-pods", &without_pods.join("---\n"));
        scene
    }

    fn file(&self, name: &str, text: &str) {
        fs::write(self.folder.join(name), text).unwrap();
    }

    fn run(&self, args: &[&str]) -> Run {
        self.pipe(args, "")
    }

    /// The binary, with nothing of the surroundings that could help it.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flipguard"));
        command
            .args(args)
            .current_dir(&self.folder)
            .env("RUST_BACKTRACE", "1")
            .env("HOME", &self.folder)
            .env_remove("KUBECONFIG")
            .env_remove("KUBERNETES_SERVICE_HOST")
            .env_remove("RUST_LOG");
        command
    }

    /// Runs the binary with something on its standard input.
    fn pipe(&self, args: &[&str], input: &str) -> Run {
        let mut process =
            self.command(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It may end without having read anything.
        drop(process.stdin.take().unwrap().write_all(input.as_bytes()));
        let deadline = Instant::now() + PATIENCE;
        while process.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                process.kill().unwrap();
                panic!("flipguard {args:?} does not end");
            }
            sleep(Duration::from_millis(5));
        }
        let output = process.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Run { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Run {
    /// The command fails with an error of one line.
    fn fails(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        assert_eq!(self.out, "", "nothing belongs on standard output");
        assert!(self.err.starts_with("flipguard: ") && self.err.ends_with('\n'), "{}", self.err);
        assert_eq!(self.err.lines().count(), 1, "{}", self.err);
        for words in words {
            assert!(self.err.contains(words), "it does not say `{words}`: {}", self.err);
        }
    }

    /// The command line itself is wrong: the first line says how, and the usage follows.
    fn is_refused(&self, words: &str) {
        self.is_refused_further_down(words);
        let first = self.err.lines().next().unwrap_or_default();
        assert!(first.contains(words), "its first line does not say `{words}`: {}", self.err);
    }

    /// The same, where the first line announces a list.
    fn is_refused_further_down(&self, words: &str) {
        assert_eq!(self.code, Some(2), "{}{}", self.out, self.err);
        assert_eq!(self.out, "", "nothing belongs on standard output");
        assert!(self.err.starts_with("error: "), "{}", self.err);
        assert!(self.err.contains(words), "it does not say `{words}`: {}", self.err);
        assert!(!self.err.contains("backtrace") && !self.err.contains("panicked"), "{}", self.err);
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

fn service(version: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: app, namespace: shop}}\n\
         spec: {{selector: {{app: app, version: \"{version}\"}}, ports: [{{port: 80}}]}}\n"
    )
}

/// A Deployment of one Pod with its ReplicaSet, as an export shows them.
fn colour(name: &str, version: &str, ready: bool) -> Vec<String> {
    let labels = format!("{{app: app, version: \"{version}\"}}");
    let spec = format!(
        "spec: {{containers: [{{name: web, image: \"app:{version}\", ports: [{{containerPort: 80}}], \
         readinessProbe: {{httpGet: {{path: /, port: 80}}}}}}]}}"
    );
    let template = format!("template: {{metadata: {{labels: {labels}}}, {spec}}}");
    let metadata = |name: &str, owner: &str| {
        let owner = if owner.is_empty() { String::new() } else { format!(", ownerReferences: [{owner}]") };
        format!(
            "metadata: {{name: {name}, namespace: shop, uid: uid-{name}, generation: 1, labels: {labels}, \
             annotations: {{deployment.kubernetes.io/revision: \"1\"}}{owner}}}"
        )
    };
    let owned_by = |kind: &str, name: &str| {
        format!("{{apiVersion: apps/v1, kind: {kind}, name: {name}, uid: uid-{name}, controller: true}}")
    };
    let count = u8::from(ready);
    let counters = format!("observedGeneration: 1, replicas: 1, readyReplicas: {count}, availableReplicas: {count}");
    let (word, phase, state) = if ready {
        ("True", "Running", "running: {startedAt: \"2026-01-01T00:00:00Z\"}")
    } else {
        ("False", "Pending", "waiting: {reason: ImagePullBackOff}")
    };
    vec![
        format!(
            "apiVersion: apps/v1\nkind: Deployment\n{}\nspec: {{replicas: 1, {template}}}\n\
             status: {{updatedReplicas: 1, {counters}}}\n",
            metadata(name, "")
        ),
        format!(
            "apiVersion: apps/v1\nkind: ReplicaSet\n{}\nspec: {{replicas: 1, {template}}}\nstatus: {{{counters}}}\n",
            metadata(&format!("{name}-1"), &owned_by("Deployment", name))
        ),
        format!(
            "apiVersion: v1\nkind: Pod\n{}\n{spec}\nstatus: {{phase: {phase}, podIP: 10.0.0.1, \
             conditions: [{{type: Ready, status: \"{word}\"}}], \
             containerStatuses: [{{name: web, ready: {ready}, state: {{{state}}}}}]}}\n",
            metadata(&format!("{name}-1-a"), &owned_by("ReplicaSet", &format!("{name}-1")))
        ),
    ]
}
