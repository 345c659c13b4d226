//! The reads and writes of a flip, made without flipguard.

use anyhow::{Context, Result};
use futures_util::future::{try_join, try_join_all};
use http::Method;
use kube::Client;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cluster::{bytes, send};

/// An object that is read and written like a ledger: a ConfigMap in the namespace.
const LEDGER: &str = "api/v1 configmaps/ledger";
/// The lists that a flip reads after its arrival, in pages. Without them, readiness is unknown.
const LISTS: [&str; 5] = [
    "apis/apps/v1 deployments?",
    "apis/apps/v1 statefulsets?",
    "apis/apps/v1 daemonsets?",
    "apis/apps/v1 replicasets?",
    "api/v1 pods?labelSelector=app%3Dapp&",
];

/// Reads one object.
///
/// # Errors
/// When the object does not exist.
pub async fn one(client: &Client, namespace: &str) -> Result<()> {
    read(client, namespace, LEDGER).await.map(drop)
}

/// Lists the Deployments.
///
/// # Errors
/// When the list is denied.
pub async fn deployments(client: &Client, namespace: &str) -> Result<()> {
    list(client, namespace, LISTS[0]).await
}

/// Reads all lists of a flip concurrently.
///
/// # Errors
/// When a list is denied.
pub async fn lists(client: &Client, namespace: &str) -> Result<()> {
    try_join_all(LISTS.map(|what| list(client, namespace, what))).await.map(drop)
}

/// Reads a ledger, and then writes it while all lists are read.
///
/// # Errors
/// When a read or the write is denied.
pub async fn with_ledger(client: &Client, namespace: &str) -> Result<()> {
    let mut ledger: Value = serde_json::from_str(&read(client, namespace, LEDGER).await?)?;
    let version = ledger.pointer("/metadata/resourceVersion").context("no version")?.clone();
    // The content differs from before; otherwise nothing would be written.
    ledger.as_object_mut().context("no object")?.insert("data".to_owned(), json!({ "last": version }));
    let path = path(namespace, LEDGER)?;
    let write = send(client, Method::PUT, &path, Some(&ledger));
    try_join(write, lists(client, namespace)).await.map(drop)
}

/// Reads a list page by page, as flipguard does.
async fn list(client: &Client, namespace: &str, what: &str) -> Result<()> {
    let mut more = String::new();
    loop {
        let path = path(namespace, &format!("{what}limit=500{more}"))?;
        let page = bytes(client, &path, protobuf_json::MEDIA_TYPE).await?;
        let metadata = protobuf_json::List::read(&page)?.metadata()?;
        match json_skip::from_str::<PageMeta>(&metadata)?.token.filter(|token| !token.is_empty()) {
            Some(token) => more = format!("&continue={token}"),
            None => return Ok(()),
        }
    }
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
