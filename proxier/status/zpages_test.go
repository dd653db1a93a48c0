package status

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"espalier/proxier/status/statustest"
)

// TestFormOfZPages: objects are only for those who name group, version and kind.
func TestFormOfZPages(t *testing.T) {
	const object = "g=config.k8s.io;v=v1beta1;as=Statusz"
	text, none := form{mediaType: textPlain}, form{}
	json1, yaml1 := form{typeJSON, "v1beta1"}, form{typeYAML, "v1beta1"}
	for accept, want := range map[string]form{
		"":                                 text,
		"  ":                               text,
		"*/*":                              text,
		"text/*":                           text,
		"text/plain":                       text,
		"text/plain; charset=utf-8":        text,
		"text/plain;as=Statusz":            none,
		"application/json":                 none,
		"application/*":                    none,
		"application/xml":                  none,
		"application/json;" + object:       json1,
		"application/json; " + object:      json1,
		"application/yaml;" + object:       yaml1,
		"application/*;" + object:          json1,
		"*/*;" + object:                    json1,
		"application/cbor;" + object:       none,
		"application/vnd.x+json;" + object: none,
		"application/json;as=Statusz;v=v1beta1;g=config.k8s.io":                   json1,
		"application/json;g=config.k8s.io;v=v1alpha1;as=Statusz":                  {typeJSON, "v1alpha1"},
		"application/json;g=config.k8s.io;v=v1;as=Statusz":                        none,
		"application/json;g=config.k8s.io;v=v1beta1;as=Flagz":                     none,
		"application/json;g=config.k8s.io;v=v1beta1":                              none,
		"application/json;g=other;v=v1beta1;as=Statusz":                           none,
		"application/json;stream=watch;" + object:                                 none,
		"application/json, text/plain;q=0.5":                                      text,
		"application/xml, */*;q=0.1":                                              text,
		"text/plain;q=0.1, application/json;" + object:                            json1,
		"application/yaml;q=0.1;" + object + ", application/json;q=0.2;" + object: json1,
	} {
		got, ok := formOf(accept, "Statusz")
		if got != want || ok != (want != none) {
			t.Errorf("Accept %q: %+v, %v; want %+v", accept, got, ok, want)
		}
	}
}

// TestZPagesAsObjects: what programs read.
func TestZPagesAsObjects(t *testing.T) {
	s := New(facts())
	pages := Pages{Flags: func() map[string]string { return map[string]string{"v": "2"} }}
	for _, mediaType := range []string{typeJSON, typeYAML} {
		read := func(kind string) (o map[string]any) {
			t.Helper()
			got := get(t, s, pages, "/"+strings.ToLower(kind), "Accept", mediaType+";g=config.k8s.io;v=v1beta1;as="+kind)
			if got.code != 200 || got.header.Get("Content-Type") != mediaType+";g=config.k8s.io;v=v1beta1;as="+kind || got.header.Get("Warning") != "" {
				t.Fatalf("%s: %d, %v", kind, got.code, got.header)
			}
			text := []byte(got.body)
			if mediaType == typeYAML {
				var err error
				if text, err = yaml.YAMLToJSON(text); err != nil {
					t.Fatal(err)
				}
			}
			if err := json.Unmarshal(text, &o); err != nil {
				t.Fatalf("%v: %s", err, got.body)
			}
			return o
		}
		flags := read("Flagz")
		want := map[string]any{
			"kind": "Flagz", "apiVersion": "config.k8s.io/v1beta1", "metadata": map[string]any{"name": "kube-proxy"},
			"flags": map[string]any{"v": "2"},
		}
		if diff := cmp.Diff(want, flags); diff != "" {
			t.Errorf("flags (-want +got):\n%s", diff)
		}
		status := read("Statusz")
		if _, err := time.Parse(time.RFC3339, status["startTime"].(string)); err != nil {
			t.Error(err)
		}
		paths := []any{"/configz", "/flagz", "/healthz", "/metrics", "/proxyMode"}
		if diff := cmp.Diff(paths, status["paths"]); diff != "" || status["binaryVersion"] != "v1" || status["kind"] != "Statusz" {
			t.Errorf("status is %v", status)
		}
	}
	old := get(t, s, pages, "/flagz", "Accept", "application/json;g=config.k8s.io;v=v1alpha1;as=Flagz")
	if old.code != 200 || !strings.Contains(old.header.Get("Warning"), "deprecated") || !strings.Contains(old.body, "config.k8s.io/v1alpha1") {
		t.Errorf("the version before: %d, warning %q: %s", old.code, old.header.Get("Warning"), old.body)
	}
	refused := get(t, s, pages, "/statusz", "Accept", "application/json")
	const status = `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",` +
		`"message":"only the following media types are accepted: application/json, application/yaml, text/plain","reason":"NotAcceptable","code":406}` + "\n"
	if refused.code != 406 || refused.body != status {
		t.Errorf("plain JSON: %d %s", refused.code, refused.body)
	}
}

func TestReleaseOfAVersion(t *testing.T) {
	for version, want := range map[string]string{"v1.37.2": "1.37", "v1.37.2+espalier.dev": "1.37", "dev": "", "": "", "v1": ""} {
		if got := minor(version); got != want {
			t.Errorf("%q is of %q, want %q", version, got, want)
		}
	}
}

// TestZPagesCanBeSwitchedOff: by the gates ComponentStatusz and ComponentFlagz.
func TestZPagesCanBeSwitchedOff(t *testing.T) {
	s := New(facts())
	for _, path := range []string{"/flagz", "/statusz"} {
		if got := get(t, s, Pages{NoStatus: true}, path); got.code != 404 {
			t.Errorf("%s: %d, want 404", path, got.code)
		}
	}
}

// TestGatesAreMetrics: one series for each.
func TestGatesAreMetrics(t *testing.T) {
	f := facts()
	f.Gates = []Gate{{"AllAlpha", "ALPHA", false}, {"Old", "", true}}
	families := scrapeOf(t, New(f))
	for _, g := range f.Gates {
		v, ok := statustest.Value(families, featureEnabled, map[string]string{"name": g.Name, "stage": g.Stage})
		if !ok || (v == 1) != g.On {
			t.Errorf("%+v is %v (there: %v)", g, v, ok)
		}
	}
}
