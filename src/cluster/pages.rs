//! A list of the whole cluster, page by page. Only one page is held at a time.

use kube::Client;
use kube::core::Request;
use kube::core::params::ListParams;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::request::{RequestError, within};

/// The number of objects in a page.
const PAGE: u32 = 500;

/// Reads all objects under a path, and hands them over one by one, in the order of namespaces and names.
///
/// # Errors
/// When a page cannot be read before the deadline.
pub async fn each<T: DeserializeOwned>(
    client: &Client,
    path: &str,
    deadline: Instant,
    mut take: impl FnMut(T),
) -> Result<(), String> {
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let request = Request::new(path).list(&params).map_err(|error| error.to_string())?;
        let read = within(deadline, client.request::<Page<T>>(request)).await;
        let page = read.map_err(|error: RequestError| error.to_string())?;
        page.items.into_iter().for_each(&mut take);
        match page.metadata.more.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(()),
        }
    }
}

#[derive(Deserialize)]
struct Page<T> {
    #[serde(default)]
    metadata: PageMeta,
    #[serde(default = "Vec::new")]
    items: Vec<T>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PageMeta {
    #[serde(rename = "continue")]
    more: Option<String>,
}
