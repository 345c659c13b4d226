//! Laws of selectors, pins and roles, over one Service or two.
#![no_main]

use std::collections::BTreeSet;

use flipguard::model::{ColourScheme, Labels, Role, Selector, Service};
use flipguard::rules::filter;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let mut services = serde_json::Deserializer::from_slice(text).into_iter::<Service>();
    let Some(Ok(service)) = services.next() else { return };
    let other = services.next().and_then(Result::ok).unwrap_or_default();
    for service in [&service, &other] {
        alone(service);
    }
    together(&service, &other);
});

fn alone(service: &Service) {
    let colours = ColourScheme::default();
    let selector = &service.selector;
    let labels = labels(selector);

    assert!(!filter::service_update(service, &service.clone(), &colours), "nothing changes");

    let pins = colours.pins(selector);
    for pin in &pins {
        assert_eq!(labels.get(pin.key).map(String::as_str), Some(pin.value), "a pin is a pair of the selector");
        assert!(pin.value.starts_with(pin.colour) || pin.value.ends_with(pin.colour));
    }
    let role = service.own_role(&colours);
    assert_eq!(role, service.clone().own_role(&colours));
    match role {
        Role::Plain => assert!(pins.is_empty() && !service.routed().is_empty()),
        Role::Traffic | Role::Preview => {
            assert!(!service.routed().is_empty(), "a Service that nobody routes is nobody's traffic");
            assert!(!pins.is_empty() || service.meta.annotation("flipguard.dev/role").is_some());
        }
        Role::Unguarded(_) => {}
    }

    assert_eq!(selector.is_empty(), selector.pairs().next().is_none());
    assert_eq!(selector.matches(&labels), !selector.is_empty(), "a selector matches its own pairs");
    assert!(!Selector::nothing().matches(&labels));
    assert_eq!(Selector::new(labels), *selector);
    assert!(selector.without(selector).is_empty());
    assert_eq!(selector.common(selector), *selector);
    assert_eq!(selector.without(&Selector::nothing()), *selector);
    assert!(selector.common(&Selector::nothing()).is_empty());

    // What Kubernetes takes for labels has neither comma nor equals sign; then the text says it all.
    if selector.pairs().all(|(key, value)| !format!("{key}{value}").contains([',', '='])) {
        let text = selector.to_string();
        let said: Labels = text
            .split(',')
            .filter(|_| !selector.is_empty())
            .map(|pair| pair.split_once('=').expect("every pair has an equals sign"))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        assert_eq!(Selector::new(said), *selector, "{text}");
    }
}

fn together(old: &Service, new: &Service) {
    let colours = ColourScheme::default();
    let changes = filter::service_update(old, new, &colours);
    assert_eq!(changes, filter::service_update(new, old, &colours), "there and back is as relevant");
    if changes {
        assert!([old, new].iter().any(|service| service.own_role(&colours) == Role::Traffic));
    }

    let (a, b) = (&old.selector, &new.selector);
    let (only, both) = (a.without(b), a.common(b));
    assert_eq!(both, b.common(a));
    assert!(only.common(b).is_empty());
    assert!(both.without(b).is_empty());
    let (mut parts, whole) = (pairs(&only), pairs(a));
    assert!(parts.is_disjoint(&pairs(&both)));
    parts.extend(pairs(&both));
    assert_eq!(parts, whole, "without and common are the two parts of a selector");
    // Whatever either matches carries what both ask for.
    for matched in [labels(a), labels(b)] {
        assert!(both.is_empty() || both.matches(&matched));
    }
    // More labels take nothing away.
    let mut more = labels(b);
    more.extend(labels(a));
    assert_eq!(a.matches(&more), !a.is_empty());
    assert_eq!(a.matches(&labels(b)), !a.is_empty() && only.is_empty());
}

fn pairs(selector: &Selector) -> BTreeSet<(&str, &str)> {
    selector.pairs().collect()
}

fn labels(selector: &Selector) -> Labels {
    selector.pairs().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}
