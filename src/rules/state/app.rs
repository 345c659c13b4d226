//! The app: everything that one selector is about when its pins are taken out.

use crate::model::{ClusterView, ColourScheme, Labels, Pin, PinKind, Selector, Workload};

/// An app, by the selector of one of its Services.
///
/// Its *stem* are the pairs of the selector that pin nothing, and the pinned values without their colour: `app: shop` of
/// `app: shop, color: blue`, and `app: shop` of `app: shop-blue`. Two Services belong to one app if their stems are equal.
#[derive(Debug, Clone)]
pub struct App<'a> {
    selector: &'a Selector,
    pins: Vec<Pin<'a>>,
    colours: &'a ColourScheme,
}

impl<'a> App<'a> {
    /// The app of a selector.
    #[must_use]
    pub fn of(selector: &'a Selector, colours: &'a ColourScheme) -> Self {
        Self { selector, pins: colours.pins(selector), colours }
    }

    /// The pairs that pick a colour.
    #[must_use]
    pub fn pins(&self) -> &[Pin<'a>] {
        &self.pins
    }

    /// Whether a pair of this kind picks a colour.
    #[must_use]
    pub fn pins_by(&self, kind: PinKind) -> bool {
        self.pins.iter().any(|pin| pin.kind == kind)
    }

    /// Whether numbers alone pick its colours (`app: shop-v2`).
    #[must_use]
    pub fn pins_only_numbers(&self) -> bool {
        self.pins.iter().all(|pin| pin.kind == PinKind::Number)
    }

    /// The stem: pairs of the selector without its colour.
    #[must_use]
    pub fn stem(&self) -> Vec<(&'a str, &'a str)> {
        let pairs = self.selector.pairs().filter_map(|(key, value)| match self.pin(key) {
            None => Some((key, value)),
            Some(pin) => (!matches!(pin.kind, PinKind::Key | PinKind::Version)).then_some((key, pin.stem)),
        });
        pairs.collect()
    }

    /// Whether the Service with another selector belongs to this app.
    #[must_use]
    pub fn has_service(&self, selector: &Selector) -> bool {
        !self.pins.is_empty() && App::of(selector, self.colours).stem() == self.stem()
    }

    /// Whether Pods with these labels are one of its colours.
    #[must_use]
    pub fn has(&self, labels: &Labels) -> bool {
        self.selector.pairs().all(|(key, value)| {
            let Some(own) = labels.get(key) else { return false };
            match self.pin(key) {
                None => own == value,
                Some(Pin { kind: PinKind::Key | PinKind::Version, .. }) => true,
                Some(pin) => {
                    let other = self.colours.pin(key, own);
                    other.is_some_and(|other| other.kind == pin.kind && other.stem == pin.stem)
                }
            }
        })
    }

    /// Its other colours: the workloads that the selector would match with other pinned values, at 0 replicas too.
    #[must_use]
    pub fn siblings<'v>(&self, view: &'v ClusterView) -> Vec<&'v Workload> {
        let is_sibling = |workload: &&Workload| {
            let labels = &workload.template.labels;
            workload.stands_alone() && self.has(labels) && !self.selector.matches(labels)
        };
        if self.pins.is_empty() { Vec::new() } else { view.workloads.iter().filter(is_sibling).collect() }
    }

    fn pin(&self, key: &str) -> Option<&Pin<'a>> {
        self.pins.iter().find(|pin| pin.key == key)
    }
}
