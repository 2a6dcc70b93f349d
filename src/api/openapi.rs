//! The API's own description, in OpenAPI 2.0 and 3.0, as Kubernetes' aggregator collects it: what can be read is in
//! [`mod@reads`], of what form the answers are in [`mod@schemas`].
//!
//! Types of Kubernetes itself (times, quantities, list metadata) are written out in place: were they named as
//! Kubernetes names them, the aggregator would have to merge our definition with its own.

mod reads;
mod schemas;

use serde_json::{Map, Value, json};

use super::GroupVersion;
use reads::{Parameter, Read, reads};
use schemas::schemas;

/// `/openapi/v2`: one document for all.
pub(super) fn v2_content(served: &[GroupVersion]) -> Value {
    let parameter = |(name, place, required, description): Parameter| {
        json!({
            "name": name, "in": place, "required": required, "type": "string", "description": description,
            "uniqueItems": true,
        })
    };
    let prefix = "#/definitions/";
    let mut paths = Map::new();
    let mut definitions = Map::new();
    for one in served {
        paths.extend(reads(*one).into_iter().map(|read| {
            let schema = json!({"$ref": format!("{prefix}{}", schemas::name(*one, read.kind))});
            let mut operation = operation(*one, &read);
            operation["produces"] = json!(["application/json"]);
            operation["schemes"] = json!(["https"]);
            operation["responses"] = json!({"200": {"description": "OK", "schema": schema}});
            item(read, &operation, parameter)
        }));
        definitions.extend(schemas(*one, prefix));
    }
    json!({"swagger": "2.0", "info": info(), "paths": paths, "definitions": definitions})
}

/// `/openapi/v3`: which documents there are. The hash makes a changed document a new address.
pub(super) fn v3_content(hashes: &[(GroupVersion, &str)]) -> Value {
    let path = |(one, hash): &(GroupVersion, &str)| {
        let url = format!("{}?hash={hash}", v3_path(*one));
        let key = one.path().trim_start_matches('/').to_owned();
        (key, json!({"serverRelativeURL": url}))
    };
    let paths: Map<String, Value> = hashes.iter().map(path).collect();
    json!({"paths": paths})
}

/// Where the document of a group and version is.
pub(super) fn v3_path(one: GroupVersion) -> String {
    format!("/openapi/v3{}", one.path())
}

/// The document of a group and version.
pub(super) fn v3_group_content(one: GroupVersion) -> Value {
    let parameter = |(name, place, required, description): Parameter| {
        json!({
            "name": name, "in": place, "required": required, "description": description,
            "schema": {"type": "string"},
        })
    };
    let prefix = "#/components/schemas/";
    let path = |read: Read| {
        let schema = json!({"$ref": format!("{prefix}{}", schemas::name(one, read.kind))});
        let mut operation = operation(one, &read);
        operation["responses"] = json!({"200": {
            "description": "OK",
            "content": {"application/json": {"schema": schema}},
        }});
        item(read, &operation, parameter)
    };
    let paths: Map<String, Value> = reads(one).into_iter().map(path).collect();
    json!({
        "openapi": "3.0.0",
        "info": info(),
        "paths": paths,
        "components": {"schemas": schemas(one, prefix)},
    })
}

/// A path, and what is under it.
fn item(read: Read, operation: &Value, parameter: impl Fn(Parameter) -> Value) -> (String, Value) {
    let parameters: Vec<Value> = read.parameters.into_iter().map(parameter).collect();
    let content = json!({"get": operation, "parameters": parameters});
    (read.path, content)
}

fn operation(one: GroupVersion, read: &Read) -> Value {
    json!({
        "description": read.description,
        "operationId": read.id,
        "tags": [read.tag],
        "x-kubernetes-action": read.action,
        "x-kubernetes-group-version-kind": schemas::kind(one, read.kind),
    })
}

fn info() -> Value {
    json!({"title": "Taffrail", "version": concat!("v", env!("CARGO_PKG_VERSION"))})
}
