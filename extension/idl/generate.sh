#!/usr/bin/env bash
# Writes src/thrift/osquery.rs anew from osquery.thrift. Needs the Thrift compiler 0.17 (Debian's
# thrift-compiler), which building does not: what it writes is committed.
set -euo pipefail
cd "$(dirname "$0")/.."
thrift --gen rs -out src/thrift idl/osquery.thrift
# Lint attributes stand in mod.rs instead, with their reason.
sed -i -E '/^ *#!?\[(allow|cfg_attr)\(/d' src/thrift/osquery.rs
