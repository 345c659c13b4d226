//! Lists as protobuf and as JSON: this API server means the same by both.

use std::collections::BTreeMap;
use std::fmt::Debug;

use anyhow::{Context, Result, ensure};
use flipguard::cluster::list::{self, Form};
use flipguard::model::{GateJob, Meta, Pod, Revision, Service, Workload, WorkloadKind, WorkloadManifest};
use kube::Client;
use kube::core::Request;
use kube::core::params::ListParams;
use serde::de::DeserializeOwned;

use super::Test;
use super::admission::{client, on_runtime};
use super::shop::Shop;

/// It compares the objects that all other tests have left.
pub(crate) const AFTER_ALL: &[Test] =
    &[("lists::every_object_is_the_same_in_both_forms", every_object_is_the_same_in_both_forms)];

/// A Pod template with as many fields as fit into one.
const TEMPLATE: &str = include_str!("lists/everything.yaml");

/// The objects of the whole cluster that stay as they are while both lists are read, by uid and version.
async fn all<T: DeserializeOwned, K>(
    client: &Client,
    path: &str,
    form: Form,
    kept: impl Fn(T) -> (Meta, K),
) -> Result<BTreeMap<(String, String), K>> {
    let request = Request::new(path).list(&ListParams::default())?;
    let answered = list::get(client, request, form).await?;
    ensure!(answered.form == form, "{path} came as {:?}", answered.form);
    let mut objects = BTreeMap::new();
    answered.page::<T>()?.each(|item| {
        let (meta, object) = kept(item);
        objects.insert((meta.uid, meta.resource_version), object);
    })?;
    Ok(objects)
}

async fn compare<T: DeserializeOwned, K: PartialEq + Debug>(
    client: &Client,
    path: &str,
    kept: impl Fn(T) -> (Meta, K),
) -> Result<usize> {
    let from_json = all(client, path, Form::Json, &kept).await?;
    let from_protobuf = all(client, path, Form::Protobuf, &kept).await?;
    let mut compared = 0;
    for (key, object) in &from_protobuf {
        let Some(other) = from_json.get(key) else { continue };
        ensure!(object == other, "{path}: protobuf gives {object:#?}, JSON gives {other:#?}");
        compared += 1;
    }
    eprintln!("lists: {compared} of {} {path}", from_json.len());
    Ok(compared)
}

fn every_object_is_the_same_in_both_forms(shop: &Shop) -> Result<()> {
    for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
        shop.apply(&TEMPLATE.replace("KIND", kind))?.succeeds()?;
    }
    shop.until("a Pod of the Deployment exists", || {
        Ok(!shop.kubectl(&["get", "pods", "-l", "app=everything", "-o", "name"])?.out.is_empty())
    })?;
    on_runtime(async {
        let client = client(shop).await?;
        for kind in WorkloadKind::ALL {
            let path = format!("/apis/apps/v1/{}", kind.resource());
            let workload = |manifest: WorkloadManifest| {
                let workload: Workload = manifest.into_workload(kind);
                (workload.meta.clone(), workload)
            };
            let compared = compare(&client, &path, workload).await?;
            ensure!(compared > 0, "no {kind} stayed as it was");
        }
        let pods = compare(&client, "/api/v1/pods", |pod: Pod| (pod.meta.clone(), pod)).await?;
        let services = compare(&client, "/api/v1/services", |one: Service| (one.meta.clone(), one)).await?;
        let revision = |one: Revision| (one.meta.clone(), one);
        let revisions = compare(&client, "/apis/apps/v1/controllerrevisions", revision).await?;
        ensure!(pods > 0 && services > 0 && revisions > 0, "{pods} Pods, {services} Services, {revisions} revisions");
        compare(&client, "/apis/batch/v1/jobs", |one: GateJob| (one.meta.clone(), one)).await.map(drop)
    })
    .context("the lists differ")
}
