package definition

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "write what is made of the table of fields")

// Every field has everything that is made from the table.
func TestFields(t *testing.T) {
	const golden = "../../generator/testdata/golden/every-field.txtar"
	archive, err := txtar.ParseFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(archive.Files, func(f txtar.File) bool {
		return strings.HasPrefix(f.Name, "input/") && strings.HasSuffix(f.Name, ".json")
	})
	inGolden := membersOf(t, archive.Files[i].Data)
	const several = "../../generator/testdata/golden/endpoints.txtar"
	inLists, err := os.ReadFile(several)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fields {
		if f.flag == "" && f.parse == nil || f.flag != "" && f.parse != nil {
			t.Errorf("%s must have either a flag or a parser", f.name)
		}
		if f.flag != "" && f.absent != "" {
			t.Errorf("%s has a flag and must not have a default, which nothing would hand to Docker; without says what applies then", f.name)
			continue
		}
		parent, name := split(f.name)
		in := inGolden
		if f.instead != "" || f.list || parent != "" && fields[position(parent)].list {
			// A definition has these instead of others.
			if f.instead == "" && !strings.Contains(string(inLists), strconv.Quote(name)) {
				t.Errorf("%s is not in the golden case of several endpoints, %s", f.name, several)
			}
			continue
		}
		if parent != "" {
			in = membersOf(t, in[parent])
		}
		if _, ok := in[name]; !ok {
			t.Errorf("%s is not in the golden case of every field, %s", f.name, golden)
		}
		if f.says == "" || f.example == "" || f.schema == "" && names(f.name) == nil {
			t.Errorf("%s lacks what it says, its example, or its schema", f.name)
		}
		if f.required && (f.absent != "" || f.without != "") {
			t.Errorf("%s is required, and something holds without it", f.name)
		}
		if f.example == f.absent {
			t.Errorf("the example of %s is what holds without it", f.name)
		}
		if _, err := Parse("web", rev, with(f, f.example)); err != nil {
			t.Errorf("the example of %s: %v", f.name, err)
		}
		if f.absent == "" {
			continue
		}
		given, err := Parse("web", rev, with(f, f.absent))
		if err != nil {
			t.Errorf("the default of %s: %v", f.name, err)
			continue
		}
		bare := "{}"
		if must := required(parent); len(must) > 0 {
			bare = string(with(*byName()[parent][must[0]], byName()[parent][must[0]].example))
		}
		if without, _ := Parse("web", rev, withRequired(bare)); !jsonEqual(given, without) {
			t.Errorf("with the default of %s: %+v; without it: %+v", f.name, given, without)
		}
	}
}

// with returns a document with that value of a field.
func with(f field, value string) []byte {
	parent, name := split(f.name)
	document := quote(name) + ":" + value
	switch {
	case parent == "":
	default:
		for _, other := range required(parent) {
			if other != name {
				document += "," + quote(other) + ":" + byName()[parent][other].example
			}
		}
		document = "{" + document + "}"
		if fields[position(parent)].list {
			document = "[" + document + "]"
		}
		document = quote(parent) + ":" + document
	}
	return withRequired("{" + document + "}")
}

func membersOf(t *testing.T, document []byte) map[string]json.RawMessage {
	t.Helper()
	var members map[string]json.RawMessage
	if err := json.Unmarshal(document, &members); err != nil {
		t.Fatal(err)
	}
	return members
}

func jsonEqual(a, b any) bool {
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	return bytes.Equal(x, y)
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// The repository has what is made from the table now.
func TestMadeOfFields(t *testing.T) {
	readme := read(t, "../../README.md")
	table := regexp.MustCompile(`(?s)(<!-- the fields, by go test ./units/definition -update -->\n)(.*?)(\n\n)`)
	if !table.Match(readme) {
		t.Fatal("README.md has no table of fields")
	}
	for path, content := range map[string][]byte{
		"schema.json":                  Schema(),
		"service-manager.definition.5": []byte(Manual()),
		"../../README.md":              table.ReplaceAll(readme, []byte("${1}"+strings.ReplaceAll(strings.TrimSuffix(Table(), "\n"), "$", "$$")+"${3}")),
	} {
		if *update {
			if err := os.WriteFile(path, content, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(read(t, path), content) {
			t.Errorf("%s is not what is made of the table of fields; run go test ./units/definition -update", path)
		}
	}
}

// The schema accepts what the parser does, and refuses what has the wrong shape.
func TestSchema(t *testing.T) {
	loaded, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("definition.json", loaded); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("definition.json")
	if err != nil {
		t.Fatal(err)
	}
	valid := func(document []byte) bool {
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(document))
		if err != nil {
			t.Fatalf("%s: %v", document, err)
		}
		return schema.Validate(value) == nil
	}
	for _, f := range fields {
		for _, value := range slices.Compact([]string{f.example, f.absent}) {
			if value != "" && !valid(with(f, value)) {
				t.Errorf("the schema refuses %s", with(f, value))
			}
		}
		if valid(with(f, "[true]")) {
			t.Errorf("the schema takes [true] for %s", f.name)
		}
	}
	if valid([]byte(`{"port": 80}`)) || valid([]byte(`{"image": "a", "address": "10.0.0.1:80"}`)) || !valid([]byte(`{"image": "a"}`)) || valid(withRequired(`{"prot": 80}`)) || !valid(withRequired(`{"_id": "web", "_attachments": {}}`)) {
		t.Error("the schema does not know which fields there must be and may be")
	}
}
