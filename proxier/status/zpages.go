package status

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/munnerz/goautoneg"
	"sigs.k8s.io/yaml"
)

// A z-page is for people as text, and for programs as an object of the API group config.k8s.io. Programs have to name
// group, version and kind, so that nobody takes for stable what is not (KEP-4827, KEP-4828):
//
//	Accept: application/json;g=config.k8s.io;v=v1beta1;as=Statusz
//
// Answers are those of kube-proxy (kubernetes: apiserver/pkg/server/statusz and flagz).
const (
	zGroup = "config.k8s.io"
	// zName is what objects and errors are of: the component that this program stands in for.
	zName = "kube-proxy"
)

// zVersions are the versions of the objects, which do not differ.
var zVersions = []string{"v1beta1", "v1alpha1"}

// A form is how a z-page is wanted.
type form struct {
	mediaType string // textPlain, or one of an object
	version   string // of an object
}

const (
	textPlain = "text/plain"
	typeJSON  = "application/json"
	typeYAML  = "application/yaml"
)

// formOf finds out which form of a z-page an Accept header asks for; false: none that there is.
func formOf(accept, kind string) (form, bool) {
	if strings.TrimSpace(accept) == "" {
		return form{mediaType: textPlain}, true
	}
	for _, clause := range goautoneg.ParseAccept(accept) {
		for _, have := range []string{typeJSON, typeYAML, textPlain} {
			if !covers(clause, have) {
				continue
			}
			if f, ok := transformed(clause.Params, have, kind); ok {
				return f, true
			}
		}
	}
	return form{}, false
}

// covers reports whether a clause stands for a media type.
func covers(c goautoneg.Accept, mediaType string) bool {
	main, sub, _ := strings.Cut(mediaType, "/")
	return c.Type == main && (c.SubType == sub || c.SubType == "*") || c.Type == "*" && c.SubType == "*"
}

// transformed reads what the parameters of a clause want made of a page: nothing of a text, and one of the known objects
// of everything else.
func transformed(params map[string]string, mediaType, kind string) (form, bool) {
	group, grouped := params["g"]
	version, versioned := params["v"]
	as, named := params["as"]
	if params["sv"] != "" || params["stream"] != "" {
		return form{}, false
	}
	if mediaType == textPlain {
		return form{mediaType: textPlain}, !grouped && !versioned && !named
	}
	ok := group == zGroup && as == kind && slices.Contains(zVersions, version)
	return form{mediaType, version}, ok
}

// zpage answers with an object or, if that is wanted, with a text.
func zpage(w http.ResponseWriter, r *http.Request, kind string, object func(version string) any, page func()) {
	f, ok := formOf(r.Header.Get("Accept"), kind)
	switch {
	case !ok:
		notAcceptable(w, r)
	case f.mediaType == textPlain:
		page()
	default:
		if f.version != zVersions[0] {
			w.Header().Set("Warning", fmt.Sprintf("299 - \"This version of the %s endpoint is deprecated. Please use a newer version.\"", strings.ToLower(kind)))
		}
		w.Header().Set("Content-Type", f.mediaType+";g="+zGroup+";v="+f.version+";as="+kind)
		encoded(w, http.StatusOK, f.mediaType, object(f.version))
	}
}

// encoded answers with an object. The header may say more of its type than what it is encoded as.
func encoded(w http.ResponseWriter, code int, mediaType string, object any) {
	body, err := json.Marshal(object)
	if err == nil && mediaType == typeYAML {
		body, err = yaml.JSONToYAML(body)
	}
	if err != nil {
		http.Error(w, fmt.Sprintf("print the page: %v", err), http.StatusInternalServerError)
		return
	}
	if mediaType == typeJSON {
		body = append(body, '\n')
	}
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", mediaType)
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	_, _ = w.Write(body) // the client may be gone
}

// object is what objects of the API have in front.
type object struct {
	Kind       string `json:"kind"`
	APIVersion string `json:"apiVersion"`
	Metadata   named  `json:"metadata"`
}

type named struct {
	Name string `json:"name,omitempty"`
}

func newObject(kind, version string) object {
	return object{kind, zGroup + "/" + version, named{zName}}
}

// notAcceptable answers as an API server does to those who want something that there is not: in YAML to those who wanted
// that, and in JSON to others.
func notAcceptable(w http.ResponseWriter, r *http.Request) {
	mediaType := typeJSON
	for _, clause := range goautoneg.ParseAccept(r.Header.Get("Accept")) {
		if covers(clause, typeYAML) && !covers(clause, typeJSON) && len(clause.Params) == 0 {
			mediaType = typeYAML
		}
	}
	encoded(w, http.StatusNotAcceptable, mediaType, struct {
		object
		Status  string `json:"status"`
		Message string `json:"message"`
		Reason  string `json:"reason"`
		Code    int    `json:"code"`
	}{
		object: object{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Reason: "NotAcceptable", Code: http.StatusNotAcceptable,
		Message: "only the following media types are accepted: " + strings.Join([]string{typeJSON, typeYAML, textPlain}, ", "),
	})
}

// statuszObject is the page for programs.
type statuszObject struct {
	object
	StartTime        string   `json:"startTime"`
	UptimeSeconds    int64    `json:"uptimeSeconds"`
	GoVersion        string   `json:"goVersion"`
	BinaryVersion    string   `json:"binaryVersion"`
	EmulationVersion string   `json:"emulationVersion,omitempty"`
	Paths            []string `json:"paths"`
}

func (p page) object(version string) any {
	return statuszObject{
		object: newObject("Statusz", version), StartTime: p.Started.UTC().Format(time.RFC3339),
		UptimeSeconds: int64(p.Now.Sub(p.Started).Seconds()), GoVersion: p.Go, BinaryVersion: p.Version, EmulationVersion: minor(p.Version), Paths: folders(p.Paths),
	}
}

// minor returns the release of Kubernetes that a version is of: 1.37 of v1.37.2+x. Empty: it is of none.
func minor(version string) string {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	if len(parts) < 3 {
		return ""
	}
	return parts[0] + "." + parts[1]
}

// folders are the first parts of paths, each once, in order. As in kube-proxy, what is for debugging is not listed.
func folders(paths []string) []string {
	all := map[string]bool{}
	for _, p := range paths {
		first, _, _ := strings.Cut(strings.TrimPrefix(p, "/"), "/")
		if first != "debug" {
			all["/"+first] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// flagzObject is the page for programs.
type flagzObject struct {
	object
	Flags map[string]string `json:"flags,omitempty"`
}
