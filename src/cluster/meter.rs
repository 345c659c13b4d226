//! How many requests one decision sends to the API server.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use http::{Method, Request, Response};
use tower::{Layer, Service};

use super::clock::{self, ClockDifference};

tokio::task_local! {
    static METER: Arc<Meter>;
}

/// The counters of one decision.
#[derive(Debug, Default)]
struct Meter {
    reads: AtomicU32,
    writes: AtomicU32,
}

/// The number of requests that a decision sent to the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Requests that read: get, list and SubjectAccessReviews.
    pub reads: u32,
    /// Requests that write the ledger.
    pub writes: u32,
}

/// Runs a decision with a meter and a clock of its own, and returns the number of its requests.
pub async fn measured<F: Future>(decision: F) -> (F::Output, Cost) {
    let meter = Arc::new(Meter::default());
    let output = METER.scope(meter.clone(), clock::scoped(decision)).await;
    let cost = Cost { reads: meter.reads.load(Ordering::Relaxed), writes: meter.writes.load(Ordering::Relaxed) };
    (output, cost)
}

/// Counts the requests of another task with this decision.
pub fn counted<F: Future>(asks: F) -> impl Future<Output = F::Output> {
    let meter = METER.try_with(Arc::clone).unwrap_or_default();
    METER.scope(meter, clock::shared(asks))
}

/// Counts each request of a client and notes the time of each answer.
#[derive(Debug, Clone)]
pub(super) struct Metered(Arc<ClockDifference>);

impl Metered {
    pub(super) fn new(clock: Arc<ClockDifference>) -> Self {
        Self(clock)
    }
}

impl<S> Layer<S> for Metered {
    type Service = MeteredService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        MeteredService { inner, clock: self.0.clone() }
    }
}

#[derive(Debug, Clone)]
pub(super) struct MeteredService<S> {
    inner: S,
    clock: Arc<ClockDifference>,
}

impl<S, B, C> Service<Request<B>> for MeteredService<S>
where
    S: Service<Request<B>, Response = Response<C>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let is_review = request.uri().path().ends_with("subjectaccessreviews");
        let reads = request.method() == Method::GET || is_review;
        let (answer, difference) = (self.inner.call(request), self.clock.clone());
        // kube calls `call` in a task of its own. Only the returned future runs in the decision's task.
        Box::pin(async move {
            let asked =
                |meter: &Arc<Meter>| if reads { &meter.reads } else { &meter.writes }.fetch_add(1, Ordering::Relaxed);
            let _ = METER.try_with(asked);
            let answer = answer.await?;
            if let Some(date) = clock::date(answer.headers()) {
                clock::observe(date);
                difference.observe(date);
            }
            Ok(answer)
        })
    }
}
