//! The two kinds of webhook configuration, as one trait.

use std::fmt::Debug;

use k8s_openapi::ClusterResourceScope;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhook, MutatingWebhookConfiguration, ValidatingWebhook, ValidatingWebhookConfiguration,
};
use kube::Resource;
use serde::de::DeserializeOwned;

use super::stored::Webhook;
use super::webhooks::{self, Webhooks};

/// A ValidatingWebhookConfiguration or a MutatingWebhookConfiguration.
pub trait Configuration:
    Resource<DynamicType = (), Scope = ClusterResourceScope> + Clone + Debug + DeserializeOwned
{
    /// A webhook of this configuration.
    type Webhook: Webhook;

    /// `webhooks`; empty where the field is missing.
    fn webhooks(&self) -> &[Self::Webhook];

    /// The webhooks of flipguard.
    fn rendered(webhooks: &Webhooks<'_>) -> Vec<Self::Webhook>;

    /// The webhook that receives the probe, with `failurePolicy` `Fail`; `None` where this configuration has none.
    fn probe(webhooks: &Webhooks<'_>) -> Option<Self::Webhook>;
}

impl Configuration for ValidatingWebhookConfiguration {
    type Webhook = ValidatingWebhook;

    fn webhooks(&self) -> &[ValidatingWebhook] {
        self.webhooks.as_deref().unwrap_or_default()
    }

    fn rendered(webhooks: &Webhooks<'_>) -> Vec<ValidatingWebhook> {
        webhooks::validating(webhooks)
    }

    fn probe(webhooks: &Webhooks<'_>) -> Option<ValidatingWebhook> {
        Some(webhooks::probe(webhooks, true))
    }
}

impl Configuration for MutatingWebhookConfiguration {
    type Webhook = MutatingWebhook;

    fn webhooks(&self) -> &[MutatingWebhook] {
        self.webhooks.as_deref().unwrap_or_default()
    }

    fn rendered(webhooks: &Webhooks<'_>) -> Vec<MutatingWebhook> {
        webhooks::mutating(webhooks)
    }

    fn probe(_: &Webhooks<'_>) -> Option<MutatingWebhook> {
        None
    }
}
