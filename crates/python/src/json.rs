//! JSON values as Python's own types.

use pyo3::{
    prelude::*,
    types::{PyDict, PyList},
};
use serde_json::{Map, Value};

/// A `dict` with the members in their order.
pub(crate) fn dict(python: Python<'_>, members: Map<String, Value>) -> PyResult<Bound<'_, PyDict>> {
    let dict = PyDict::new(python);
    for (name, value) in members {
        dict.set_item(name, object(python, value)?)?;
    }
    Ok(dict)
}

fn object(python: Python<'_>, value: Value) -> PyResult<Bound<'_, PyAny>> {
    Ok(match value {
        Value::Null => python.None().into_bound(python),
        Value::Bool(value) => value.into_pyobject(python)?.to_owned().into_any(),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(whole), _) => whole.into_pyobject(python)?.into_any(),
            (None, Some(whole)) => whole.into_pyobject(python)?.into_any(),
            (None, None) => number.as_f64().into_pyobject(python)?,
        },
        Value::String(text) => text.into_pyobject(python)?.into_any(),
        Value::Array(items) => {
            let list = PyList::empty(python);
            for item in items {
                list.append(object(python, item)?)?;
            }
            list.into_any()
        }
        Value::Object(members) => dict(python, members)?.into_any(),
    })
}
