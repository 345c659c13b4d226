//! What a flip reads and writes, done without flipguard.

use anyhow::{Context, Result};
use futures_util::future::{try_join, try_join_all};
use http::Method;
use kube::Client;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cluster::send;

/// The object that is read and written as a ledger is: a ConfigMap in the namespace.
const LEDGER: &str = "api/v1 configmaps/ledger";
/// What a flip reads after it has arrived, in pages: without these, nobody knows what would serve.
const LISTS: [&str; 5] = [
    "apis/apps/v1 deployments?",
    "apis/apps/v1 statefulsets?",
    "apis/apps/v1 daemonsets?",
    "apis/apps/v1 replicasets?",
    "api/v1 pods?labelSelector=app%3Dapp&",
];

/// One object is read.
///
/// # Errors
/// When it is not there.
pub async fn one(client: &Client, namespace: &str) -> Result<()> {
    read(client, namespace, LEDGER).await.map(drop)
}

/// One kind is listed.
///
/// # Errors
/// When that is refused.
pub async fn deployments(client: &Client, namespace: &str) -> Result<()> {
    list(client, namespace, LISTS[0]).await
}

/// All that a flip lists is listed, at once.
///
/// # Errors
/// When that is refused.
pub async fn lists(client: &Client, namespace: &str) -> Result<()> {
    try_join_all(LISTS.map(|what| list(client, namespace, what))).await.map(drop)
}

/// A ledger is read; then it is written, and meanwhile all is listed.
///
/// # Errors
/// When that is refused.
pub async fn with_ledger(client: &Client, namespace: &str) -> Result<()> {
    let mut ledger: Value = serde_json::from_str(&read(client, namespace, LEDGER).await?)?;
    let version = ledger.pointer("/metadata/resourceVersion").context("no version")?.clone();
    // Something else than before, or nothing would be written.
    ledger.as_object_mut().context("no object")?.insert("data".to_owned(), json!({ "last": version }));
    let path = path(namespace, LEDGER)?;
    let write = send(client, Method::PUT, &path, Some(&ledger));
    try_join(write, lists(client, namespace)).await.map(drop)
}

/// Page by page, as flipguard lists.
async fn list(client: &Client, namespace: &str, what: &str) -> Result<()> {
    let mut more = String::new();
    loop {
        let page = read(client, namespace, &format!("{what}limit=500{more}")).await?;
        match json_skip::from_str::<Page>(&page)?.metadata.token.filter(|token| !token.is_empty()) {
            Some(token) => more = format!("&continue={token}"),
            None => return Ok(()),
        }
    }
}

/// As much of a page as tells where the next begins.
#[derive(Deserialize)]
struct Page {
    metadata: PageMeta,
}

#[derive(Deserialize)]
struct PageMeta {
    #[serde(rename = "continue")]
    token: Option<String>,
}

async fn read(client: &Client, namespace: &str, what: &str) -> Result<String> {
    send(client, Method::GET, &path(namespace, what)?, None).await
}

fn path(namespace: &str, what: &str) -> Result<String> {
    let (group, rest) = what.split_once(' ').context("no plural")?;
    Ok(format!("/{group}/namespaces/{namespace}/{rest}"))
}
