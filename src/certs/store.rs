//! Stores the identity in one Secret. Every replica may write it; the resourceVersion decides between two.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};

use super::{Identity, IdentityError};
use crate::cluster::connect::one_line;
use crate::install::NAME;

/// The annotation that requests a new authority. It is removed once there is one.
pub const ROTATE: &str = "flipguard.dev/rotate";
/// The annotation that requests a new token of the paths. It is removed once there is one.
pub const ROTATE_TOKEN: &str = "flipguard.dev/rotate-token";

/// The Secret `flipguard` in flipguard's own namespace.
pub(super) struct Store {
    secrets: Api<Secret>,
    namespace: String,
}

/// The Secret as it was read.
pub(super) struct Found {
    /// The parts that could be read.
    pub(super) identity: Identity,
    /// Whether the annotation requests a new authority.
    pub(super) rotate: bool,
    /// Whether the annotation requests a new token.
    pub(super) rotate_token: bool,
    /// The whole object; `None` where there is none.
    secret: Option<Secret>,
}

impl Store {
    pub(super) fn new(client: &Client, namespace: &str) -> Self {
        Self { secrets: Api::namespaced(client.clone(), namespace), namespace: namespace.to_owned() }
    }

    pub(super) async fn read(&self) -> Result<Found, IdentityError> {
        let secret = self.secrets.get_opt(NAME).await.map_err(|error| self.failed("get", &error))?;
        let identity = secret.as_ref().map(identity_in).unwrap_or_default();
        let annotations = secret.as_ref().and_then(|secret| secret.metadata.annotations.as_ref());
        let has = |key: &str| annotations.is_some_and(|all| all.contains_key(key));
        Ok(Found { identity, rotate: has(ROTATE), rotate_token: has(ROTATE_TOKEN), secret })
    }

    /// Writes over the Secret that was read, and removes the annotation whose request is met; `false` where another
    /// writer was faster.
    pub(super) async fn write(
        &self,
        over: Found,
        identity: &Identity,
        met: Option<&str>,
    ) -> Result<bool, IdentityError> {
        let params = PostParams::default();
        let creates = over.secret.is_none();
        let written = if let Some(mut secret) = over.secret {
            if let (Some(annotations), Some(met)) = (secret.metadata.annotations.as_mut(), met) {
                annotations.remove(met);
            }
            secret.data = Some(data_of(identity));
            self.secrets.replace(NAME, &params, &secret).await
        } else {
            let metadata = ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() };
            self.secrets.create(&params, &Secret { metadata, data: Some(data_of(identity)), ..Secret::default() }).await
        };
        match written {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if creates && status.code == 404 => {
                Err(IdentityError::NoNamespace(self.namespace.clone()))
            }
            // 404: the Secret was deleted in between.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(false),
            Err(error) => Err(self.failed("write", &error)),
        }
    }

    fn failed(&self, verb: &'static str, error: &kube::Error) -> IdentityError {
        IdentityError::Secret { verb, namespace: self.namespace.clone(), why: one_line(error) }
    }
}

const AUTHORITY: &str = "ca.crt";
const AUTHORITY_KEY: &str = "ca.key";
const NEXT: &str = "next-ca.crt";
const NEXT_KEY: &str = "next-ca.key";
const OLD: &str = "old-ca.crt";
const LEAF: &str = "tls.crt";
const LEAF_KEY: &str = "tls.key";
const TOKEN: &str = "token";
const OLD_TOKEN: &str = "old-token";
const TOKEN_ISSUED: &str = "token-issued";

fn data_of(identity: &Identity) -> BTreeMap<String, ByteString> {
    [
        (AUTHORITY, &identity.authority),
        (AUTHORITY_KEY, &identity.authority_key),
        (NEXT, &identity.next),
        (NEXT_KEY, &identity.next_key),
        (OLD, &identity.old),
        (LEAF, &identity.leaf),
        (LEAF_KEY, &identity.leaf_key),
        (TOKEN, &identity.token),
        (OLD_TOKEN, &identity.old_token),
        (TOKEN_ISSUED, &identity.token_issued),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .map(|(key, value)| (key.to_owned(), ByteString(value.clone().into_bytes())))
    .collect()
}

/// The parts of the identity that can be read from a Secret.
pub(crate) fn identity_in(secret: &Secret) -> Identity {
    let text = |key: &str| {
        let bytes = secret.data.as_ref().and_then(|data| data.get(key));
        bytes.and_then(|bytes| String::from_utf8(bytes.0.clone()).ok()).unwrap_or_default()
    };
    Identity {
        authority: text(AUTHORITY),
        authority_key: text(AUTHORITY_KEY),
        next: text(NEXT),
        next_key: text(NEXT_KEY),
        old: text(OLD),
        leaf: text(LEAF),
        leaf_key: text(LEAF_KEY),
        token: text(TOKEN),
        old_token: text(OLD_TOKEN),
        token_issued: text(TOKEN_ISSUED),
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use crate::certs::rotator::load;
    use crate::cluster::clock::ClockDifference;
    use crate::cluster::fake::FakeApi;

    #[tokio::test]
    async fn a_missing_namespace_is_no_lost_race() {
        let api = FakeApi::default();
        let secrets = "/api/v1/namespaces/own/secrets";
        let (names, clock) = (["guard.example".to_owned()], ClockDifference::default());
        api.fail(Method::POST, secrets, 404);
        let error = load(&api.client(), "own", &names, &clock).await.unwrap_err().to_string();
        assert_eq!(error, "namespace own does not exist; create it, or give flipguard's own with --namespace");
        // A lost race is run again.
        api.fail(Method::POST, secrets, 409);
        assert!(load(&api.client(), "own", &names, &clock).await.is_ok());
        assert!(api.get(&format!("{secrets}/flipguard")).is_some());
    }
}
