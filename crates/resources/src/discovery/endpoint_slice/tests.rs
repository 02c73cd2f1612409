//! Endpoint slices through validation and printing.

use expect_test::expect;
use jiff::Timestamp;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use registry::{PrintCx, Strategy};
use serde_json::{Value, json};

use super::{COLUMNS, EndpointSlices, validation};

fn slice(value: Value) -> EndpointSlice {
    let mut slice = serde_json::from_value(value).expect("a slice");
    EndpointSlices.set_defaults(&mut slice);
    slice
}

#[test]
fn addresses_are_of_the_slices_type() {
    let slice = slice(json!({
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.1", "::1", "127.0.0.1"]}, {"addresses": []}],
        "ports": [{"port": 80}, {"port": 81}, {"name": "Up", "protocol": "x"}],
    }));
    let errors: String =
        validation::validate(&slice, validation::ADDRESS_TYPES).iter().map(|error| format!("{error}\n")).collect();
    expect![[r#"
        endpoints[0].addresses[1]: Invalid value: "::1": must be a valid IPv4 address
        endpoints[0].addresses[1]: Invalid value: "::1": may not be in the loopback range (127.0.0.0/8, ::1/128)
        endpoints[0].addresses[2]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)
        endpoints[1].addresses: Required value: must contain at least 1 address
        ports[1].name: Duplicate value: ""
        ports[2].name: Invalid value: "Up": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
        ports[2].protocol: Unsupported value: "x": supported values: "SCTP", "TCP", "UDP"
    "#]]
    .assert_eq(&errors);
}

#[test]
fn long_lists_are_cut() {
    let endpoints: Vec<Value> = (1..=5).map(|i| json!({"addresses": [format!("10.0.0.{i}")]})).collect();
    let slice =
        slice(json!({"metadata": {"name": "web-x"}, "addressType": "IPv4", "endpoints": endpoints, "ports": []}));
    let cells: Vec<String> = COLUMNS
        .iter()
        .map(|column| (column.cell)(&slice, &PrintCx { now: Timestamp::UNIX_EPOCH }).to_string())
        .collect();
    expect![[r#""web-x" "IPv4" "<unset>" "10.0.0.1,10.0.0.2,10.0.0.3 + 2 more..." "<unknown>""#]]
        .assert_eq(&cells.join(" "));
}
