#!/usr/bin/env python3
"""Writes the operator schemas of the installed onnx package as one C file, the table that compiler/op.h declares.

usage: generate_schemas.py OUTPUT.c [DEPFILE]

Every operator of every domain in every version: attributes with types and defaults, arity, type constraints, and the
body of those that the standard defines as functions. Rows are sorted by domain, name and version for schema_find's
binary search. Equal lists (types, parameters, attributes, bodies) are written once: most versions of an operator differ
in little, and the file must compile in no time.
"""

import pathlib
import struct
import sys

import onnx
import onnx.defs

# AttributeProto.AttributeType to enum attribute_kind (runtime/tensor.h). Sparse tensors and types have no kind there:
# the importer turns them into something else.
KINDS = {
    "INT": "ATTRIBUTE_INT", "FLOAT": "ATTRIBUTE_FLOAT", "STRING": "ATTRIBUTE_STRING", "TENSOR": "ATTRIBUTE_TENSOR",
    "GRAPH": "ATTRIBUTE_GRAPH", "INTS": "ATTRIBUTE_INTS", "FLOATS": "ATTRIBUTE_FLOATS",
    "STRINGS": "ATTRIBUTE_STRINGS", "TENSORS": "ATTRIBUTE_TENSORS",
}
OPTIONS = {"Single": 0, "Optional": 1, "Variadic": 2}


def c_string(data):
    """A C string literal of some bytes. Octal escapes: unlike hexadecimal ones they end after three digits."""
    if isinstance(data, str):
        data = data.encode("utf-8")
    out = []
    for byte in data:
        char = chr(byte)
        if char in '"\\?':  # '?': no trigraphs
            out.append("\\" + char)
        elif 32 <= byte < 127:
            out.append(char)
        else:
            out.append(f"\\{byte:03o}")
    # A long literal is split so that no tool meets a line of many kilobytes.
    pieces, line, length = [], [], 0
    for item in out:
        if length + len(item) > 100:
            pieces.append("".join(line))
            line, length = [], 0
        line.append(item)
        length += len(item)
    pieces.append("".join(line))
    return "\n    ".join(f'"{piece}"' for piece in pieces)


def c_float(value):
    """The float32 with exactly these bits, as a C constant."""
    value = struct.unpack("<f", struct.pack("<f", value))[0]
    if value != value or value in (float("inf"), float("-inf")):
        sys.exit(f"generate_schemas.py: a default of {value} has no C constant")
    return value.hex() + "f"


def c_int(value):
    return f"INT64_C({value})" if value != -(2**63) else "INT64_MIN"


class Pool:
    """Arrays written once however often they are used."""

    def __init__(self):
        self.names = {}
        self.lines = []

    def array(self, prefix, element, items):
        """Name of an array with these initialisers ("NULL" when there are none)."""
        if not items:
            return "NULL"
        key = (element, tuple(items))
        if key not in self.names:
            name = f"{prefix}{len(self.names)}"
            self.names[key] = name
            self.lines.append(f"static const {element} {name}[] = {{{', '.join(items)}}};")
        return self.names[key]

    def bytes(self, data):
        if not data:
            return "NULL"
        key = ("bytes", data)
        if key not in self.names:
            name = f"body{len(self.names)}"
            self.names[key] = name
            self.lines.append(f"static const unsigned char {name}[] =\n    {c_string(data)};")
        return self.names[key]


def attribute_row(pool, attribute):
    kind = KINDS.get(attribute.type.name, "0")
    default = attribute.default_value
    # The type of an absent default is UNDEFINED.
    present = default.type != onnx.AttributeProto.UNDEFINED
    fields = {"int": "0", "float": "0", "string": "NULL", "ints": ("NULL", 0), "floats": ("NULL", 0), "strings": ("NULL", 0)}
    if present:
        if kind == "ATTRIBUTE_INT":
            fields["int"] = c_int(default.i)
        elif kind == "ATTRIBUTE_FLOAT":
            fields["float"] = c_float(default.f)
        elif kind == "ATTRIBUTE_STRING":
            fields["string"] = c_string(default.s)
        elif kind == "ATTRIBUTE_INTS":
            fields["ints"] = (pool.array("i", "int64_t", [c_int(v) for v in default.ints]), len(default.ints))
        elif kind == "ATTRIBUTE_FLOATS":
            fields["floats"] = (pool.array("f", "float", [c_float(v) for v in default.floats]), len(default.floats))
        elif kind == "ATTRIBUTE_STRINGS":
            fields["strings"] = (pool.array("s", "char *const", [c_string(v) for v in default.strings]),
                                 len(default.strings))
        else:
            sys.exit(f"generate_schemas.py: no way to write the default of attribute {attribute.name}")
    lists = ", ".join(f"{name}, {count}" for name, count in (fields["ints"], fields["floats"], fields["strings"]))
    return (f"{{{c_string(attribute.name)}, {kind}, {int(attribute.required)}, {int(present)}, {fields['int']}, "
            f"{fields['float']}, {fields['string']}, {lists}}}")


def parameter_rows(parameters):
    return [f"{{{c_string(p.name)}, {c_string(p.type_str)}, {OPTIONS[p.option.name]}, {int(p.is_homogeneous)}, "
            f"{p.min_arity}}}" for p in parameters]


def constraint_rows(pool, constraints):
    rows = []
    for constraint in constraints:
        types = sorted(constraint.allowed_type_strs)
        name = pool.array("t", "char *const", [c_string(t) for t in types])
        rows.append(f"{{{c_string(constraint.type_param_str)}, {name}, {len(types)}}}")
    return rows


def function_body(schema):
    """The serialised FunctionProto of the newest opset that the package offers, without its documentation. Bodies that
    depend on the types at hand have no form of their own and are left out."""
    if not schema.has_function:
        return b""
    function = onnx.FunctionProto()
    function.ParseFromString(schema.get_function_with_opset_version(max(schema.function_opset_versions)))
    function.ClearField("doc_string")
    for node in function.node:
        node.ClearField("doc_string")
    return function.SerializeToString(deterministic=True)


def schema_row(pool, schema):
    attributes = [attribute_row(pool, schema.attributes[name]) for name in sorted(schema.attributes)]
    inputs, outputs = parameter_rows(schema.inputs), parameter_rows(schema.outputs)
    constraints = constraint_rows(pool, schema.type_constraints)
    body = function_body(schema)
    return (f"    {{{c_string(schema.domain)}, {c_string(schema.name)}, {schema.since_version}, "
            f"{schema.min_input}, {schema.max_input}, {schema.min_output}, {schema.max_output}, "
            f"{pool.array('a', 'struct schema_attribute', attributes)}, {len(attributes)}, "
            f"{pool.array('p', 'struct schema_parameter', inputs)}, {len(inputs)}, "
            f"{pool.array('p', 'struct schema_parameter', outputs)}, {len(outputs)}, "
            f"{pool.array('c', 'struct schema_constraint', constraints)}, {len(constraints)}, "
            f"{pool.bytes(body)}, {len(body)}}},")


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    pool = Pool()
    schemas = sorted(onnx.defs.get_all_schemas_with_history(), key=lambda s: (s.domain, s.name, s.since_version))
    rows = [schema_row(pool, schema) for schema in schemas]
    text = [f"/* Made by schemas/generate_schemas.py from onnx {onnx.__version__}; not to be edited. */",
            '#include "compiler/op.h"', ""] + pool.lines
    text += ["", "const struct schema schema_table[] = {", *rows, "};",
             "const size_t schema_table_count = sizeof(schema_table) / sizeof(schema_table[0]);",
             f"const int64_t schema_newest_opset = {onnx.defs.onnx_opset_version()};", ""]
    pathlib.Path(sys.argv[1]).write_text("\n".join(text), encoding="utf-8")
    if len(sys.argv) == 3:
        source = str(pathlib.Path(onnx.__file__).parent / "version.py").replace(" ", "\\ ")
        pathlib.Path(sys.argv[2]).write_text(f"{sys.argv[1]}: {source}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
