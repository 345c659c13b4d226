//! One question to the API server, answered by the deadline or not at all.

use kube::Client;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};

use super::connect::one_line;

/// What the API server says.
pub(super) enum Answer<T> {
    /// This.
    Is(T),
    /// There is none.
    NotFound,
    /// RBAC does not let flipguard ask, and why.
    Forbidden(String),
}

impl<T> Answer<T> {
    /// What there is, if there is any.
    ///
    /// # Errors
    /// When flipguard may not ask.
    pub(super) fn found(self) -> Result<Option<T>, String> {
        match self {
            Self::Is(said) => Ok(Some(said)),
            Self::NotFound => Ok(None),
            Self::Forbidden(why) => Err(why),
        }
    }
}

/// An object of which nothing matters but that it is there.
#[derive(Deserialize)]
pub(super) struct Anything {}

/// Asks, and says in one line why there is no answer.
///
/// # Errors
/// When there is none.
pub(super) async fn ask<T: DeserializeOwned>(
    client: &Client,
    request: http::Request<Vec<u8>>,
    deadline: Instant,
) -> Result<Answer<T>, String> {
    match timeout_at(deadline, client.request::<T>(request)).await {
        Ok(Ok(said)) => Ok(Answer::Is(said)),
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => Ok(Answer::NotFound),
        Ok(Err(error)) => match &error {
            kube::Error::Api(status) if status.code == 403 => Ok(Answer::Forbidden(one_line(&error))),
            _ => Err(one_line(&error)),
        },
        Err(_) => Err("no answer in time".to_owned()),
    }
}
