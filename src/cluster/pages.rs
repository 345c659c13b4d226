//! A list, page by page. Only one page is held at a time.

use kube::Client;
use kube::core::Request;
use kube::core::params::ListParams;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::list::JsonPage;
use super::request::{RequestError, within};

/// The number of objects in a page.
pub(super) const PAGE: u32 = 500;

/// Reads all objects under a path, and hands them over one by one, in the order of namespaces and names.
///
/// # Errors
/// When a page cannot be read before the deadline.
pub(super) async fn each<T: DeserializeOwned>(
    client: &Client,
    path: &str,
    params: ListParams,
    deadline: Instant,
    mut take: impl FnMut(T),
) -> Result<(), RequestError> {
    let mut params = params.limit(PAGE);
    loop {
        let request = Request::new(path).list(&params)?;
        let page = within(deadline, client.request::<JsonPage<T>>(request)).await?;
        page.items.into_iter().flatten().for_each(&mut take);
        match page.metadata.unwrap_or_default().more.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(()),
        }
    }
}
