package kubetest

import (
	"bufio"
	"bytes"
	"net/http"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/streaming"
	"k8s.io/apimachinery/pkg/watch"
)

// media is an encoding.
type media = runtime.SerializerInfo

// codec knows the encodings.
type codec struct {
	json, protobuf media
}

func newCodec() codec {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, discoveryv1.AddToScheme} {
		if err := add(scheme); err != nil {
			panic(err) // cannot happen to an empty scheme
		}
	}
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	all := serializer.NewCodecFactory(scheme).SupportedMediaTypes()
	json, _ := runtime.SerializerInfoForMediaType(all, runtime.ContentTypeJSON)
	protobuf, _ := runtime.SerializerInfoForMediaType(all, runtime.ContentTypeProtobuf)
	return codec{json, protobuf}
}

// negotiate returns protobuf if the client asks for it, else JSON.
func (c codec) negotiate(accept string, jsonOnly bool) media {
	if !jsonOnly && strings.Contains(accept, runtime.ContentTypeProtobuf) {
		return c.protobuf
	}
	return c.json
}

// refuse answers with an error.
func (c codec) refuse(w http.ResponseWriter, status *metav1.Status) {
	c.write(w, int(status.Code), c.json, status)
}

func (c codec) write(w http.ResponseWriter, code int, m media, o runtime.Object) {
	w.Header().Set("Content-Type", m.MediaType)
	w.WriteHeader(code)
	_ = m.Serializer.Encode(o, w) // an error means that the client left
}

// stream is the answer to a watch.
type stream struct {
	media  media
	events streaming.Encoder
	buffer *bufio.Writer
	out    http.Flusher
}

func (c codec) stream(w http.ResponseWriter, m media) *stream {
	contentType := m.MediaType
	if contentType != runtime.ContentTypeJSON {
		contentType += ";stream=watch"
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(http.StatusOK)
	buffer := bufio.NewWriter(w)
	frames := m.StreamSerializer.NewFrameWriter(buffer)
	return &stream{media: m, events: streaming.NewEncoder(frames, m.StreamSerializer.Serializer), buffer: buffer, out: w.(http.Flusher)}
}

// send adds an event to what flush will send. Errors mean that the client left, which watch sees by itself.
func (s *stream) send(t watch.EventType, o runtime.Object) {
	var object bytes.Buffer
	encoder := s.media.Serializer
	if err := encoder.Encode(o, &object); err != nil {
		return
	}
	_ = s.events.Encode(&metav1.WatchEvent{Type: string(t), Object: runtime.RawExtension{Raw: object.Bytes()}})
}

func (s *stream) flush() {
	_ = s.buffer.Flush()
	s.out.Flush()
}
