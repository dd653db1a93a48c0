package kubetest

import (
	"bufio"
	"bytes"
	"net/http"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
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
	prepared       *sync.Map // of runtime.Object, which never changes, to its protobuf
}

// prepare encodes an object once and for all.
func (c codec) prepare(o runtime.Object) {
	var text bytes.Buffer
	if _, done := c.prepared.Load(o); !done && c.protobuf.Serializer.Encode(o, &text) == nil {
		c.prepared.Store(o, bytes.Clone(text.Bytes()))
	}
}

// encode returns an object as text, which belongs to the codec.
func (c codec) encode(m media, o runtime.Object) ([]byte, error) {
	if text, ok := c.prepared.Load(o); ok && m.MediaType == c.protobuf.MediaType {
		return text.([]byte), nil
	}
	var text bytes.Buffer
	err := m.Serializer.Encode(o, &text)
	return text.Bytes(), err
}

func newCodec() codec {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, discoveryv1.AddToScheme, networkingv1.AddToScheme, eventsv1.AddToScheme} {
		if err := add(scheme); err != nil {
			panic(err) // cannot happen to an empty scheme
		}
	}
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	all := serializer.NewCodecFactory(scheme).SupportedMediaTypes()
	json, _ := runtime.SerializerInfoForMediaType(all, runtime.ContentTypeJSON)
	protobuf, _ := runtime.SerializerInfoForMediaType(all, runtime.ContentTypeProtobuf)
	return codec{json, protobuf, new(sync.Map)}
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
	if d := status.Details; d != nil && d.RetryAfterSeconds > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(d.RetryAfterSeconds)))
	}
	c.write(w, int(status.Code), c.json, status)
}

func (c codec) write(w http.ResponseWriter, code int, m media, o runtime.Object) {
	w.Header().Set("Content-Type", m.MediaType)
	w.WriteHeader(code)
	_ = m.Serializer.Encode(o, w) // an error means that the client left
}

// stream is the answer to a watch.
type stream struct {
	codec  codec
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
	buffer := bufio.NewWriterSize(w, 64<<10)
	frames := m.StreamSerializer.NewFrameWriter(buffer)
	return &stream{codec: c, media: m, events: streaming.NewEncoder(frames, m.StreamSerializer.Serializer), buffer: buffer, out: w.(http.Flusher)}
}

// send adds an event to what flush will send. Errors mean that the client left, which watch sees by itself.
func (s *stream) send(t watch.EventType, o runtime.Object) {
	object, err := s.codec.encode(s.media, o)
	if err != nil {
		return
	}
	_ = s.events.Encode(&metav1.WatchEvent{Type: string(t), Object: runtime.RawExtension{Raw: object}})
}

// garble sends a frame of the right length for protobuf, and a line for JSON, in which there is no event.
func (s *stream) garble() {
	_, _ = s.buffer.WriteString("\x00\x00\x00\x06k8s\x00!!{]\n")
	s.flush()
}

func (s *stream) flush() {
	_ = s.buffer.Flush()
	s.out.Flush()
}
