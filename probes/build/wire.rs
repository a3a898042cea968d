//! Writes Rust for the types of `bpf/wire.h`, from the BTF that clang made of them.
//!
//! Reading them from the compiled object rather than from the text means that sizes and offsets are
//! those the BPF programs use; the assertions that are written along hold rustc to them.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use libbpf_rs::btf::types::{Array, Enum, Int, IntEncoding, MemberAttr, Struct};
use libbpf_rs::btf::{Btf, BtfType, HasSize as _};

const PREFIX: &str = "wire_";

/// Reads `object` and writes `output`.
pub fn generate(object: &Path, output: &Path) -> Result<(), Box<dyn Error>> {
    let btf = Btf::from_path(object)?;
    let mut text = String::new();
    for ty in btf.type_by_kind::<Enum<'_>>() {
        if name_of(&ty).is_some_and(|name| name.starts_with(PREFIX)) {
            write_enum(&mut text, &ty)?;
        }
    }
    for ty in btf.type_by_kind::<Struct<'_>>() {
        if let Some(name) = name_of(&ty).filter(|name| name.starts_with(PREFIX)) {
            write_struct(&mut text, &btf, &ty, &name)?;
        }
    }
    fs::write(output, text)?;
    Ok(())
}

fn name_of(ty: &BtfType<'_>) -> Option<String> {
    Some(ty.name()?.to_str()?.to_owned())
}

/// `wire_task` becomes `Task`.
fn rust_name(name: &str) -> String {
    let mut out = String::new();
    for part in name.trim_start_matches(PREFIX).split('_') {
        let (first, rest) = part.split_at(part.len().min(1));
        out.push_str(&first.to_uppercase());
        out.push_str(rest);
    }
    out
}

/// Constants only: enumerations are never fields.
fn write_enum(text: &mut String, ty: &Enum<'_>) -> Result<(), Box<dyn Error>> {
    for member in ty.iter() {
        let name = member.name.and_then(|name| name.to_str()).ok_or("an enumerator has a name")?;
        let name = name.trim_start_matches("WIRE_");
        writeln!(text, "pub const {name}: u32 = {};", member.value)?;
    }
    Ok(())
}

fn write_struct(
    text: &mut String,
    btf: &Btf<'_>,
    ty: &Struct<'_>,
    name: &str,
) -> Result<(), Box<dyn Error>> {
    let name = rust_name(name);
    let mut fields = String::new();
    let mut checks = String::new();
    writeln!(checks, "    assert!(::core::mem::size_of::<{name}>() == {});", ty.size())?;
    for member in ty.iter() {
        let field = member.name.and_then(|name| name.to_str()).ok_or("a field has a name")?;
        let MemberAttr::Normal { offset } = member.attr else {
            return Err(format!("{name}.{field} is a bit field").into());
        };
        let ty = btf.type_by_id(member.ty).ok_or("a field has a type")?;
        let field = if field == "type" { "r#type" } else { field };
        writeln!(fields, "    pub {field}: {},", rust_type(ty)?)?;
        writeln!(
            checks,
            "    assert!(::core::mem::offset_of!({name}, {field}) == {});",
            offset / 8
        )?;
    }
    write!(
        text,
        "#[repr(C)]\n#[derive(Clone, Copy, Debug)]\npub struct {name} {{\n{fields}}}\n\
         // SAFETY: integers and arrays of them, with no padding (clang's -Wpadded is an error).\n\
         unsafe impl Wire for {name} {{}}\n\
         const _: () = {{\n{checks}}};\n"
    )?;
    Ok(())
}

fn rust_type(ty: BtfType<'_>) -> Result<String, Box<dyn Error>> {
    let ty = ty.skip_mods_and_typedefs();
    if let Ok(int) = Int::try_from(ty) {
        return match int.encoding {
            IntEncoding::Signed => Ok(format!("i{}", int.bits)),
            IntEncoding::None => Ok(format!("u{}", int.bits)),
            // clang calls `unsigned char` this too.
            IntEncoding::Char => Ok(format!("u{}", int.bits)),
            IntEncoding::Bool => Err("a bool has values that are none".into()),
        };
    }
    if let Ok(array) = Array::try_from(ty) {
        return Ok(format!("[{}; {}]", rust_type(array.contained_type())?, array.capacity()));
    }
    if Struct::try_from(ty).is_ok() {
        return Ok(rust_name(&name_of(&ty).ok_or("a struct has a name")?));
    }
    Err(format!("{ty:?} has no place on the wire").into())
}
