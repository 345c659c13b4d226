//! What a decision asks of the API server: how many reads and writes; and what time it is there.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::task::{Context, Poll};

use http::{Method, Request, Response, header};
use time::OffsetDateTime;
use tower::{Layer, Service};

use crate::model::Timestamp;

tokio::task_local! {
    static METER: Arc<Meter>;
}

/// Counts the requests of one decision.
#[derive(Debug, Default)]
struct Meter {
    reads: AtomicU32,
    writes: AtomicU32,
    /// The latest `Date` of an answer; 0 before the first.
    date: AtomicI64,
}

/// What a decision has asked of the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Requests that read: GET, LIST, and reviews of permissions.
    pub reads: u32,
    /// Requests that write the ledger.
    pub writes: u32,
}

/// Runs a decision, and says what it has asked for.
pub async fn measured<F: Future>(decision: F) -> (F::Output, Cost) {
    let meter = Arc::new(Meter::default());
    let output = METER.scope(meter.clone(), decision).await;
    let cost = Cost { reads: meter.reads.load(Ordering::Relaxed), writes: meter.writes.load(Ordering::Relaxed) };
    (output, cost)
}

/// What is asked for in another task is counted with this decision.
pub fn counted<F: Future>(asks: F) -> impl Future<Output = F::Output> {
    let meter = METER.try_with(Arc::clone).unwrap_or_default();
    METER.scope(meter, asks)
}

/// The time by the API server's clock, as its answers to this decision said; by the own clock before the first.
#[must_use]
pub fn now() -> Timestamp {
    let date = METER.try_with(|meter| meter.date.load(Ordering::Relaxed)).unwrap_or(0);
    Timestamp(if date == 0 { OffsetDateTime::now_utc().unix_timestamp() } else { date })
}

/// Puts the meter between a client and its connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Metered;

impl<S> Layer<S> for Metered {
    type Service = MeteredService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        MeteredService(inner)
    }
}

#[derive(Debug, Clone)]
pub(super) struct MeteredService<S>(S);

impl<S, B, C> Service<Request<B>> for MeteredService<S>
where
    S: Service<Request<B>, Response = Response<C>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let is_review = request.uri().path().ends_with("subjectaccessreviews");
        let reads = request.method() == Method::GET || is_review;
        let answer = self.0.call(request);
        // The client calls this in a task of its own; only what it gives back runs in the decision's task.
        Box::pin(async move {
            let asked =
                |meter: &Arc<Meter>| if reads { &meter.reads } else { &meter.writes }.fetch_add(1, Ordering::Relaxed);
            let _ = METER.try_with(asked);
            let answer = answer.await?;
            let date = answer.headers().get(header::DATE).and_then(|value| value.to_str().ok());
            if let Some(date) = date.and_then(|text| httpdate::parse_http_date(text).ok()) {
                let seconds = OffsetDateTime::from(date).unix_timestamp();
                let _ = METER.try_with(|meter| meter.date.fetch_max(seconds, Ordering::Relaxed));
            }
            Ok(answer)
        })
    }
}
