//! The identity's home: one Secret, written by whichever replica wins.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use time::OffsetDateTime;

use super::Identity;
use super::authority::CertificateError;
use crate::cluster::access::NAME;
use crate::cluster::connect::one_line;

/// How often a lost race is run again. Each loss means that another replica has just won.
const ATTEMPTS: usize = 10;

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The Secret cannot be read or written.
    #[error("cannot {verb} Secret {namespace}/{NAME}: {why}")]
    Secret {
        /// What was tried.
        verb: &'static str,
        /// The namespace.
        namespace: String,
        /// What the API server said.
        why: String,
    },
    /// The certificate could not be issued.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Other replicas kept writing in between.
    #[error("Secret {0}/{NAME} is written by others again and again; is another program using it?")]
    Contended(String),
}

/// Reads the identity, or makes it where there is none that serves these names.
///
/// # Errors
/// When the Secret cannot be read or written, or a certificate cannot be issued.
pub async fn load(client: &Client, namespace: &str, names: &[String]) -> Result<Identity, IdentityError> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let failed = |verb: &'static str| {
        move |error: kube::Error| IdentityError::Secret { verb, namespace: namespace.to_owned(), why: one_line(&error) }
    };
    for _ in 0..ATTEMPTS {
        let stored = secrets.get_opt(NAME).await.map_err(failed("get"))?;
        let now = OffsetDateTime::now_utc();
        let identity = stored.as_ref().and_then(identity_in);
        if let Some(identity) = &identity
            && identity.serves(names, now)
        {
            return Ok(identity.clone());
        }
        let made = match identity {
            Some(identity) => identity.with_new_leaf(names, now).or_else(|_| Identity::issue(names, now))?,
            None => Identity::issue(names, now)?,
        };
        let params = PostParams::default();
        // The resourceVersion, or that the name is still free, decides who wins.
        let written = if let Some(stored) = stored {
            secrets.replace(NAME, &params, &secret_of(&made, stored.metadata)).await
        } else {
            let metadata = ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() };
            secrets.create(&params, &secret_of(&made, metadata)).await
        };
        match written {
            Ok(_) => return Ok(made),
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(failed("write")(error)),
        }
    }
    Err(IdentityError::Contended(namespace.to_owned()))
}

const AUTHORITY: &str = "ca.crt";
const AUTHORITY_KEY: &str = "ca.key";
const LEAF: &str = "tls.crt";
const LEAF_KEY: &str = "tls.key";
const TOKEN: &str = "token";

fn secret_of(identity: &Identity, metadata: ObjectMeta) -> Secret {
    let pairs = [
        (AUTHORITY, &identity.authority),
        (AUTHORITY_KEY, &identity.authority_key),
        (LEAF, &identity.leaf),
        (LEAF_KEY, &identity.leaf_key),
        (TOKEN, &identity.token),
    ];
    let data: BTreeMap<String, ByteString> =
        pairs.into_iter().map(|(key, value)| (key.to_owned(), ByteString(value.clone().into_bytes()))).collect();
    Secret { metadata, data: Some(data), ..Secret::default() }
}

/// The identity in a Secret; `None` where part of it is missing or no text.
fn identity_in(secret: &Secret) -> Option<Identity> {
    let text = |key: &str| {
        let bytes = &secret.data.as_ref()?.get(key)?.0;
        String::from_utf8(bytes.clone()).ok().filter(|text| !text.is_empty())
    };
    Some(Identity {
        authority: text(AUTHORITY)?,
        authority_key: text(AUTHORITY_KEY)?,
        leaf: text(LEAF)?,
        leaf_key: text(LEAF_KEY)?,
        token: text(TOKEN)?,
    })
}
