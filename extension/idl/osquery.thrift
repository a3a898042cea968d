// The protocol between osqueryd and its extensions, as far as osquery-ebpf speaks it.
//
// Written from the facts of the protocol (names, field numbers, types), which osquery has kept
// since version 1.7. Transport: a unix stream socket, binary protocol, strict, unframed.
// src/thrift/osquery.rs is generated from this file by generate.sh.

// What a plugin is asked, and what it answers.
typedef map<string, string> ExtensionPluginRequest
typedef list<map<string, string>> ExtensionPluginResponse

// The number osqueryd gives an extension at registration; its socket is SOCKET.UUID.
typedef i64 ExtensionRouteUUID
// Plugin name to route, and registry name ("table", "config", ...) to plugins.
typedef map<string, ExtensionPluginResponse> ExtensionRouteTable
typedef map<string, ExtensionRouteTable> ExtensionRegistry

enum ExtensionCode {
  EXT_SUCCESS = 0,
  EXT_FAILED = 1,
  EXT_FATAL = 2,
}

// One flag of osqueryd.
struct InternalOptionInfo {
  1: string value,
  2: string default_value,
  3: string type,
}
typedef map<string, InternalOptionInfo> InternalOptionList

struct InternalExtensionInfo {
  1: string name,
  2: string version,
  3: string sdk_version,
  4: string min_sdk_version,
}
typedef map<ExtensionRouteUUID, InternalExtensionInfo> InternalExtensionList

// `code` is 0 for success. It is a plain integer: plugins return codes beyond ExtensionCode.
struct ExtensionStatus {
  1: i32 code,
  2: string message,
  3: ExtensionRouteUUID uuid,
}

struct ExtensionResponse {
  1: ExtensionStatus status,
  2: ExtensionPluginResponse response,
}

// Served by extensions, and by osqueryd too.
service Extension {
  ExtensionStatus ping(),
  ExtensionResponse call(1: string registry, 2: string item, 3: ExtensionPluginRequest request),
  void shutdown(),
}

// Served by osqueryd on the socket that extensions are told.
service ExtensionManager extends Extension {
  InternalExtensionList extensions(),
  InternalOptionList options(),
  ExtensionStatus registerExtension(1: InternalExtensionInfo info, 2: ExtensionRegistry registry),
  ExtensionStatus deregisterExtension(1: ExtensionRouteUUID uuid),
  ExtensionResponse query(1: string sql),
  ExtensionResponse getQueryColumns(1: string sql),
}
