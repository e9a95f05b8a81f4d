package definition

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// Table returns the fields as a Markdown table: what each says, and what applies without
// it.
func Table() string {
	var b strings.Builder
	b.WriteString("| field | what it says | when absent |\n|---|---|---|\n")
	for _, f := range fields {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", f.name, f.says, f.otherwise())
	}
	return b.String()
}

// otherwise says, in Markdown, what applies when the field is absent.
func (f field) otherwise() string {
	if f.required {
		return "required"
	}
	if f.absent != "" {
		return "`" + f.absent + "`"
	}
	return f.without
}

// Manual returns the manual page service-manager.definition(5).
func Manual() string {
	var b strings.Builder
	b.WriteString(`.TH SERVICE-MANAGER.DEFINITION 5 "" "service-manager"
.SH NAME
service-manager.definition \- what a service definition may say
.SH DESCRIPTION
A definition is one JSON object: a file in
.I /etc/service-manager/services
that is named after the service, or a document in a CouchDB database whose _id is the service.
It says how the containers of the service run, and where clients reach them.
.PP
An unknown field is an error, and so is anything else that is wrong.
.BR sm-fetch (8)
reports all of it at once, and the last valid revision stays.
A duration is a string of numbers with units, such as "300ms", "30s" or "1m30s", and at most "24h".
.SH FIELDS
`)
	for _, f := range fields {
		fmt.Fprintf(&b, ".TP\n.B %s\n%s.\n", roff(f.name), roff(sentence(inManual(f.says))))
		switch otherwise := f.otherwise(); {
		case f.absent != "":
			fmt.Fprintf(&b, "The default is %s.\n", roff(otherwise))
		case f.required:
			b.WriteString("Required.\n")
		case otherwise != "":
			fmt.Fprintf(&b, "When absent: %s.\n", roff(inManual(otherwise)))
		}
		fmt.Fprintf(&b, "Example: %s\n", roff(f.example))
	}
	b.WriteString(`.SH FILES
.TP
.I /etc/service-manager/addresses.json
Addresses of services whose definitions have none: [{"name": "web", "address": "172.17.0.1:7001"}].
A service that is not in it either gets one from ADDRESSES= in
.BR service-manager.conf (5).
.SH SEE ALSO
.BR sm-fetch (8),
.BR service-manager-generator (8),
.BR docker-run (1)
`)
	return b.String()
}

// inManual removes what points to the text around README's table.
func inManual(s string) string { return strings.Replace(s, ", see below", "", 1) }

// sentence begins with a capital letter, unless it begins with code.
func sentence(s string) string {
	if s == "" || s[0] == '`' {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// roff returns Markdown of one line as a line of a manual page.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "`", "", "-", `\-`).Replace(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s
	}
	return s
}

// Schema returns the JSON Schema of definitions, draft 2020-12. It is for editors:
// what it accepts may still be refused, with a reason.
func Schema() []byte {
	root := object("")
	text := fmt.Sprintf(`{"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "service definition of service-manager", %s, "dependentRequired": {"address": ["port"]}, "patternProperties": {"^_": {}}}`, root)
	var indented bytes.Buffer
	if err := json.Indent(&indented, []byte(text), "", "  "); err != nil {
		panic(err) // an entry of the table has a schema that is not JSON
	}
	indented.WriteByte('\n')
	return indented.Bytes()
}

// object returns the members of a JSON Schema for an object with those fields.
func object(parent string) string {
	var members []string
	for _, name := range names(parent) {
		f := byName()[parent][name]
		schema := f.schema
		switch {
		case f.list:
			schema = fmt.Sprintf(`{"type": "array", "minItems": 1, "maxItems": %d, "items": {%s}}`, maxEndpoints, object(f.name))
		case byName()[f.name]["type"] != nil: // alone, it stands for the object
			schema = fmt.Sprintf(`{"anyOf": [%s, {%s}]}`, byName()[f.name]["type"].schema, object(f.name))
		case len(names(f.name)) > 0:
			schema = fmt.Sprintf(`{%s}`, object(f.name))
		}
		described := fmt.Sprintf(`{"description": %s`, quote(strings.ReplaceAll(f.says, "`", "")))
		if f.absent != "" {
			described += `, "default": ` + f.absent
		}
		members = append(members, fmt.Sprintf(`%q: %s, %s`, name, described, strings.TrimPrefix(schema, "{")))
	}
	text := fmt.Sprintf(`"type": "object", "properties": {%s}, "additionalProperties": false`, strings.Join(members, ", "))
	if must := required(parent); len(must) > 0 {
		names, _ := json.Marshal(must)
		text += `, "required": ` + string(names)
	}
	return text
}

func quote(s string) string {
	text, _ := json.Marshal(s)
	return string(text)
}
