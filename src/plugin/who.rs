//! Who has changed the selector of a Service, as the Service itself tells.

use serde_json::Value;

use crate::model::printable;

/// The field manager that wrote the selector last, and the time of its last write: `kubectl-edit at 2030-01-01T00:00:00Z`.
/// `None` where the object does not tell.
#[must_use]
pub fn wrote_selector(service: &Value) -> Option<String> {
    let text = |entry: &Value, field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let entries = service.pointer("/metadata/managedFields")?.as_array()?.iter();
    let owns = entries.filter(|entry| entry.pointer("/fieldsV1/f:spec/f:selector").is_some());
    // RFC 3339 in UTC sorts by time.
    let newest = owns.max_by_key(|entry| text(entry, "time"))?;
    let (manager, time) = (text(newest, "manager"), text(newest, "time"));
    let at = if time.is_empty() { String::new() } else { format!(" at {time}") };
    (!manager.is_empty()).then(|| printable(&format!("{manager}{at}")).into_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_newest_owner_of_the_selector_is_named() {
        let entry =
            |manager: &str, time: &str, fields: Value| json!({ "manager": manager, "time": time, "fieldsV1": fields });
        let selector = || json!({ "f:spec": { "f:selector": {} } });
        let service = json!({ "metadata": { "managedFields": [
            entry("helm", "2030-01-01T00:00:00Z", selector()),
            entry("kubectl-edit", "2030-01-02T00:00:00Z", selector()),
            entry("cloud", "2030-01-03T00:00:00Z", json!({ "f:status": {} })),
        ] } });
        assert_eq!(wrote_selector(&service).as_deref(), Some("kubectl-edit at 2030-01-02T00:00:00Z"));
        assert_eq!(wrote_selector(&json!({ "metadata": {} })), None);
    }
}
