/* The ONNX reader and writer on files that are fine. */
#include "graph/graph.h"
#include "unit.h"

#include "onnx_text.h"
#include "reference.h"

#include <dirent.h>
#include <float.h>
#include <sys/stat.h>

#define DIMS(...)                                                                                  \
	(const int64_t[])                                                                          \
	{                                                                                          \
		__VA_ARGS__                                                                        \
	}

static struct kerf_graph *must_load(const char *text)
{
	struct kerf_err err = {0};
	struct kerf_graph *g = load_text(text, &err);

	if (!g)
		printf("\n%s\n  %s\n", text, err.text);
	CU_ASSERT_PTR_NOT_NULL_FATAL(g);
	return g;
}

/* Normal values in every element of the graph's input. */
static float *random_input(const struct kerf_graph *g)
{
	int64_t n = kerf_tensor_elements(&g->tensors[g->input]);
	float *x = malloc((size_t)n * sizeof(*x));
	struct kerf_rng rng = {.seed = 7};

	for (int64_t i = 0; i < n; i++)
		x[i] = (float)kerf_rng_normal(&rng);
	return x;
}

/* Both graphs give the same output for the same input, to float rounding. */
static void expect_same_values(const struct kerf_graph *a, const struct kerf_graph *b)
{
	const struct kerf_tensor *y = &a->tensors[a->output], *z = &b->tensors[b->output];
	float *x = random_input(a);
	int64_t different = 0;

	CU_ASSERT_EQUAL_FATAL(y->n_dims, z->n_dims);
	CU_ASSERT_EQUAL_FATAL(memcmp(y->dims, z->dims, (size_t)y->n_dims * sizeof(y->dims[0])), 0);
	float **v = reference_run(a, x), **w = reference_run(b, x);
	for (int64_t i = 0; i < kerf_tensor_elements(y); i++)
		different += !(fabsf(v[a->output][i] - w[b->output][i]) < 1e-5f);
	CU_ASSERT_EQUAL(different, 0);
	reference_free(a, v);
	reference_free(b, w);
	free(x);
}

/* Ways to say the same: both files load, and compute the same. */
static void test_equivalents(void)
{
	static const char *const pairs[][2] = {
		/* Convolution: automatic pads (an odd pad at the end, at the start), defaults. */
		{"in x 1,2,7,8; f32 w 3,2,2,3; node Conv c x,w y auto_pad=SAME_UPPER "
		 "strides=[2,3]; out y",
			"in x 1,2,7,8; f32 w 3,2,2,3; node Conv c x,w y pads=[0,0,1,1] "
			"strides=[2,3]; out y"},
		{"in x 1,2,7,8; f32 w 3,2,2,3; node Conv c x,w y auto_pad=SAME_LOWER "
		 "strides=[2,3]; out y",
			"in x 1,2,7,8; f32 w 3,2,2,3; node Conv c x,w y pads=[1,1,0,0] "
			"strides=[2,3]; out y"},
		{"in x 1,2,7,8; f32 w 3,2,3,3; node Conv c x,w y auto_pad=SAME_UPPER "
		 "dilations=[2,1]; out y",
			"in x 1,2,7,8; f32 w 3,2,3,3; node Conv c x,w y dilations=[2,1] "
			"pads=[2,1,2,1]; out y"},
		{"in x 1,2,7,8; f32 w 3,2,3,3; node Conv c x,w y auto_pad=VALID pads=[1,1,1,1]; "
		 "out y",
			"in x 1,2,7,8; f32 w 3,2,3,3; node Conv c x,w y kernel_shape=[3,3]; out y"},
		{"in x 1,4,5,5; f32 w 4,2,3,3; f32 b 4; node Conv c x,w,b y group=2; out y",
			"in x 1,4,5,5; f32 w 4,2,3,3; f32 b 4; node Conv c x,w t group=2; f32 b2 "
			"4,1,1; "
			"node Add a b2,t y; out y"},
		/* Conditions that are worked out for each frame. */
		{"in x 2,3,4; f32 k 4; node Less l x,k c; node Where w c,x,k y; out y", "in x 2,3,4; f32 k 4; node Min m x,k y; out y"},
		{"in x 2,3,4; f32 k 4; node Greater l x,k c; node Where w c,k,x y; out y", "in x 2,3,4; f32 k 4; node Min m x,k y; out y"},
		{"in x 2,3,4; f32 k 4; node LessOrEqual l x,k c; node Not n c d; node Cast f d e to=1; node Mul m e,x y; out y",
			"in x 2,3,4; f32 k 4; node Less l k,x d; node Cast f d e to=1; node Mul m e,x y; out y"},
		{"in x 2,3,4; f32 k 4; node Less l x,k a; node Less m k,x b; node Or o a,b c; node Cast f c y to=1; out y",
			"in x 2,3,4; f32 k 4; node Equal e x,k a; node Not n a c; node Cast f c y to=1; out y"},
		{"in x 2,3,4; f32 k 4; node GreaterOrEqual l x,k a; node LessOrEqual m x,k b; node And o a,b c; node Cast f c y to=1; out y",
			"in x 2,3,4; f32 k 4; node Equal e x,k c; node Cast f c y to=1; out y"},
		{"in x 2,3,4; f32 k 4; node Less l x,k a; node Less m k,x b; node Xor o a,b c; node Cast f c y to=1; out y",
			"in x 2,3,4; f32 k 4; node Equal e x,k a; node Not n a c; node Cast f c y to=1; out y"},
		/* Einsum: a reordering, and a product of matrices. */
		{"in x 2,3,4; node Einsum e x y equation=abc->cab; out y", "in x 2,3,4; node Transpose t x y perm=[2,0,1]; out y"},
		{"in x 2,3,4; node Einsum e x,x y equation=abc,dbc->bad; out y",
			"in x 2,3,4; node Transpose t x u perm=[1,0,2]; node Transpose s x v perm=[1,2,0]; node MatMul m u,v y; out y"},
		/* Pools: ceil_mode as pads; a last window that would begin past the edge is
		   dropped. */
		{"in x 1,2,8,8; node MaxPool p x y kernel_shape=[3,3] strides=[2,2] ceil_mode=1; "
		 "out y",
			"in x 1,2,8,8; node MaxPool p x y kernel_shape=[3,3] strides=[2,2] "
			"pads=[0,0,1,1]; "
			"out y"},
		{"in x 1,2,8,7; node AveragePool p x y kernel_shape=[3,3] strides=[2,2] "
		 "ceil_mode=1; out y",
			"in x 1,2,8,7; node AveragePool p x y kernel_shape=[3,3] strides=[2,2] "
			"pads=[0,0,1,0]; out y"},
		{"in x 1,2,5,5; node MaxPool p x y kernel_shape=[2,2] strides=[3,3] pads=[1,1,1,1] "
		 "ceil_mode=1; out y",
			"in x 1,2,5,5; node MaxPool p x y kernel_shape=[2,2] strides=[3,3] "
			"pads=[1,1,0,0]; "
			"out y"},
		{"in x 1,2,6,6; node AveragePool p x y kernel_shape=[2,2]; out y",
			"in x 1,2,6,6; f32 w 2,1,2,2=.25,.25,.25,.25,.25,.25,.25,.25; "
			"node Conv c x,w y group=2; out y"},
		{"in x 1,2,6,6; node AveragePool p x y kernel_shape=[3,3] pads=[1,1,1,1] "
		 "strides=[3,3] "
		 "count_include_pad=1; out y",
			"in x 1,2,6,6; node Pad q x t pads=[0,0,1,1,0,0,1,1]; "
			"node AveragePool p t y kernel_shape=[3,3] strides=[3,3]; opset 10; out y"},
		{"in x 1,2,6,6; node ReduceMean p x y axes=[2,3]; out y",
			"in x 1,2,6,6; node GlobalAveragePool p x y; out y"},
		{"opset 18; in x 1,2,6,6; i64 a 2=-1,-2; node ReduceMean p x,a y keepdims=0; out y",
			"in x 1,2,6,6; node GlobalAveragePool p x t; node Flatten f t y; out y"},
		/* Matrix products. */
		{"in x 2,3; f32 w 3,4; f32 b 4; node Gemm g x,w,b y alpha=0.5 beta=2.0; out y",
			"in x 2,3; f32 w "
			"4,3=.005,.025,.045,.01,.03,.05,.015,.035,.055,.02,.04,.06; "
			"f32 b 4=.02,.04,.06,.08; node Gemm g x,w,b y transB=1; out y"},
		{"in x 2,3; f32 w 3,4; f32 b 1,4; node Gemm g x,w,b y; out y",
			"in x 2,3; f32 w 3,4; f32 b 4; node MatMul m x,w t; node Add a b,t y; out "
			"y"},
		{"in x 2,3; f32 w 3,4; f32 b -=.25; node Gemm g x,w,b y; out y",
			"in x 2,3; f32 w 3,4; f32 b 4=.25,.25,.25,.25; node Gemm g x,w,b y; out y"},
		/* A bias for each row, or a computed one. */
		{"in x 2,3; f32 w 3,4; f32 b 2,4; node Gemm g x,w,b y beta=3.0; out y",
			"in x 2,3; f32 w 3,4; f32 b 2,4; f32 f -=3; node MatMul m x,w t; node Mul u b,f v; node Add a t,v y; out y"},
		{"in x 3,3; f32 w 3,3; node Gemm g x,w,x y; out y",
			"in x 3,3; f32 w 3,3; node MatMul m x,w t; node Add a t,x y; out y"},
		{"opset 6; in x 1,2,3,3; f32 s 2; node PRelu p x,s y; out y",
			"in x 1,2,3,3; f32 s 2,1,1; node PRelu p x,s y; out y"},
		{"in x 1,4; i64 a 2=-3,2; i64 e 2=3,0; node Pow p a,e s; node Add q s,t u; i64 t 2=28,3; node Reshape r x,u y; out y",
			"in x 1,4; i64 u 2=1,4; node Reshape r x,u y; out y"},
		{"in x 2,5,3; f32 w 3,4; node MatMul m x,w y; out y",
			"in x 2,5,3; f32 w 3,4; i64 s 2=10,3; i64 t 3=2,5,4; node Reshape r x,s a; "
			"node MatMul m a,w b; node Reshape q b,t y; out y"},
		/* Activations. */
		{"opset 9; in x 1,9; node Clip c x y min=-0.5 max=0.25; out y",
			"in x 1,9; f32 l -=-.5; f32 h -=.25; node Clip c x,l,h y; out y"},
		{"in x 1,9; f32 l -=0; node Clip c x,l y; out y",
			"in x 1,9; node Relu r x y; out y"},
		{"in x 1,9; f32 h -=0; node Clip c x,-,h y; out y",
			"opset 7; in x 1,9; node Clip c x y max=0.0; out y"},
		{"in x 1,9; node HardSigmoid h x y; out y",
			"in x 1,9; node HardSigmoid h x y alpha=0.2 beta=0.5; out y"},
		{"opset 14; in x 1,9; node HardSwish h x y; out y",
			"in x 1,9; node HardSigmoid h x t alpha=0.16666667; node Mul m t,x y; out "
			"y"},
		{"in x 1,9; node LeakyRelu r x y; out y",
			"in x 1,9; node LeakyRelu r x y alpha=0.01; out y"},
		/* Operands in either order, the smaller one on either side. */
		{"in x 1,2,3,3; f32 c 2,1,1; node Mul m c,x y; out y",
			"in x 1,2,3,3; f32 c 1,2,1,1; node Mul m x,c y; out y"},
		{"in x 1,2,3,3; node GlobalAveragePool p x s; node Mul m s,x y; out y",
			"in x 1,2,3,3; node GlobalAveragePool p x s; node Mul m x,s y; out y"},
		/* Shapes. */
		{"in x 2,3,4,5; node Flatten f x y axis=-2; out y",
			"in x 2,3,4,5; i64 s 2=-1,20; node Reshape r x,s y; out y"},
		{"in x 2,3,4,5; node Flatten f x y axis=4; out y",
			"in x 2,3,4,5; i64 s 2=120,1; node Reshape r x,s y; out y"},
		{"in x 2,3,4,5; i64 s 3=0,-1,5; node Reshape r x,s y; out y",
			"in x 2,3,4,5; i64 s 3=2,12,5; node Reshape r x,s y allowzero=1; opset 14; "
			"out y"},
		{"in x 2,1,4,1; node Squeeze s x y; out y",
			"opset 11; in x 2,1,4,1; node Squeeze s x y axes=[-1,1]; out y"},
		{"in x 2,1,4,1; i64 a 1=3; node Squeeze s x,a y; out y",
			"in x 2,1,4,1; i64 s 3=2,1,4; node Reshape r x,s y; out y"},
		{"in x 2,4; i64 a 2=-1,1; node Unsqueeze s x,a y; out y",
			"opset 11; in x 2,4; node Unsqueeze s x y axes=[1,3]; out y"},
		{"in x 2,3,4; node Transpose t x y; out y",
			"in x 2,3,4; node Transpose t x y perm=[2,1,0]; out y"},
		{"in x 1,2,3,3; i64 p 8=0,0,1,2,0,0,3,4; f32 z -=0; node Pad p x,p,z y "
		 "mode=constant; out y",
			"opset 10; in x 1,2,3,3; node Pad p x y pads=[0,0,1,2,0,0,3,4]; out y"},
		{"in x 1,4,2,2; node Concat c x,x y axis=-3; out y",
			"in x 1,4,2,2; node Concat c x,x y axis=1; out y"},
		/* Parts: out of bounds, from the end, backwards; equal parts with a smaller last one; one index or a list. */
		{"in x 2,9,4; i64 s 2=-7,-1; i64 e 2=1000000000000,-1000000000000; i64 a 2=1,-1; "
		 "i64 t 2=3,-2; node Slice p x,s,e,a,t y; out y",
			"in x 2,9,4; i64 i 3=2,5,8; i64 j 2=3,1; node Gather p x,i t axis=1; "
			"node Gather q t,j y axis=-1; out y"},
		{"opset 9; in x 2,9; node Slice p x y starts=[-2,-8] ends=[-1,4] axes=[0,1]; out y",
			"in x 2,9; i64 s 2=0,1; i64 e 2=1,4; node Slice p x,s,e y; out y"},
		{"in x 2,7,3; node Split p x a,b,c axis=1; node Concat k c,a,b y axis=1; out y",
			"in x 2,7,3; i64 n 3=3,3,1; node Split p x,n a,b,c axis=-2; node Concat k c,a,b y axis=1; out y"},
		{"in x 2,8; node Split p x a,b axis=1; node Relu r a z; out b",
			"in x 2,8; i64 s 1=4; i64 e 1=8; i64 a 1=1; node Slice p x,s,e,a y; out y"},
		{"in x 2,3,4; i64 i -=-1; node Gather p x,i y axis=1; out y",
			"in x 2,3,4; i64 s 1=2; i64 e 1=3; i64 a 1=1; node Slice p x,s,e,a t; i64 d 2=2,4; "
			"node Reshape r t,d y; out y"},
		{"in x 2,3; f32 k 4,3; i64 s 1=3; i64 e 1=0; i64 a 1=0; i64 t 1=-2; node Slice p k,s,e,a,t c; "
		 "node Mul m x,c y; out y",
			"in x 2,3; f32 k 4,3; i64 i 2=3,1; node Gather p k,i c; node Mul m x,c y; out y"},
		/* Arithmetic in other words; weights that the file transposes first. */
		{"in x 2,3; f32 k 3=1,2,3; node Sub s x,k t; node Sub q k,t u; node Neg m u v; node Sub z v,x y; out y",
			"in x 2,3; f32 k 3=-1,-2,-3; f32 m -=-1; node Add s x,k t; node Mul n x,m xn; node Add q t,k v; "
			"node Add z v,xn y; out y"},
		{"in x 2,3; f32 k -=4; node Div d x,k y; out y", "in x 2,3; f32 k -=.25; node Mul m x,k y; out y"},
		{"in x 2,3; f32 k 3; node Sum s x,k,x y; out y", "in x 2,3; f32 k 3; node Add s x,k t; node Add q t,x y; out y"},
		{"in x 2,3; node Sum s x t; node Relu r x y; node Add a t,y z; out z",
			"in x 2,3; node Relu r x y; node Add a x,y z; out z"},
		{"in x 2,3; node Relu r x z; node Mean m x,z t; node Sum s t y; node Relu q y w; out w",
			"in x 2,3; f32 k -=.5; node Relu r x z; node Add a x,z s; node Mul m s,k y; node Relu q y w; out w"},
		{"opset 6; in x 2,3; f32 w 4,3; node Transpose t w v; node MatMul m x,v u; "
		 "node Dropout d u y is_test=1; node Relu r y z; out z",
			"in x 2,3; f32 w 4,3; node Gemm m x,w y transB=1; node Relu r y z; out z"},
		/* Sequences, windows over all, a transposed left side. */
		{"in x 2,4,9; f32 w 6,2,3; f32 b 6; node Conv c x,w,b y group=2 strides=[2] pads=[1,2] dilations=[2]; out y",
			"in x 2,4,9; i64 s 4=2,4,1,9; node Reshape r x,s t; f32 w 6,2,1,3; f32 b 6; "
			"node Conv c t,w,b u group=2 strides=[1,2] pads=[0,1,0,2] dilations=[1,2]; i64 d 3=2,6,4; "
			"node Reshape q u,d y; out y"},
		{"in x 2,4,9; node AveragePool p x y kernel_shape=[3] auto_pad=SAME_UPPER strides=[2]; out y",
			"in x 2,4,9; node Unsqueeze u x t axes=[2]; node AveragePool p t v kernel_shape=[1,3] strides=[1,2] "
			"pads=[0,1,0,1]; node Squeeze s v y axes=[2]; out y; opset 11"},
		{"in x 2,4,5,3; node GlobalMaxPool p x y; out y",
			"in x 2,4,5,3; node MaxPool p x y kernel_shape=[5,3]; out y"},
		{"in x 3,2; f32 w 4,3; node Gemm g x,w y transA=1 transB=1; out y",
			"in x 3,2; f32 w 4,3; node Transpose t x v; node Gemm g v,w y transB=1; out y"},
		/* Softmax: before opset 13 over everything from the axis on, by default from 1. */
		{"opset 11; in x 2,5; node Softmax s x y; out y",
			"in x 2,5; node Softmax s x y; out y"},
		{"opset 11; in x 2,5,1,1; node Softmax s x y; out y",
			"in x 2,5,1,1; node Softmax s x y axis=1; out y"},
		{"opset 11; in x 2,1,5; node Softmax s x y; out y",
			"in x 2,1,5; node Softmax s x y axis=2; out y"},
		/* What disappears, and constants in nodes. */
		{"in x 1,9; node Identity i x a; node Dropout d a b,mask ratio=0.3; node Relu r b "
		 "c; "
		 "node Identity j c y; out y",
			"in x 1,9; node Relu r x y; out y"},
		{"in x 1,3; node Constant k - k value=f32:3=.5,1,2; node Identity i k l; "
		 "node Mul m l,x y; out y",
			"in x 1,3; f32 k 3=.5,1,2; node Mul m x,k y; out y"},
		{"in x 1,3; node Constant k - k value_float=0.5; node Mul m x,k y; out y",
			"in x 1,3; f64 k -=.5; node Mul m x,k y; out y"},
		{"in x 1,6; node Constant k - k value_ints=[2,3]; node Reshape r x,k y; out y",
			"in x 1,6; i64 k 2=2,3; node Reshape r x,k y; out y"},
		{"in x 2,3; node Cast c x t to=10; f16 k 3=.5,-1.5,2; node Mul m t,k u; "
		 "node Cast d u y to=1; out y",
			"in16 x 2,3; f32 k 3=.5,-1.5,2; node Mul m x,k y; out y"},
		{"in x 1,3,2,2; f32 k 3; i64 a 2=1,2; node Unsqueeze u k,a c; node Mul m x,c y; "
		 "out y",
			"in x 1,3,2,2; f32 k 3,1,1; node Mul m x,k y; out y"},
		/* Nodes out of order. */
		{"in x 1,9; node Add a p,q y; node Sigmoid s p q; node Relu r x p; out y",
			"in x 1,9; node Relu r x p; node Sigmoid s p q; node Add a p,q y; out y"},
		/* IR 3 lists initializers as inputs too; the batch may be symbolic or missing. */
		{"ir 3; opset 7; in x N,3; in w 4,3; f32 w 4,3; node Gemm g x,w,b y transB=1; in b "
		 "4; "
		 "f32 b 4; out y",
			"in x ?,3; f32 w 4,3; f32 b 4; node Gemm g x,w,b y transB=1; out y"},
	};

	for (size_t i = 0; i < KERF_ARRAY_LEN(pairs); i++) {
		struct kerf_graph *a = must_load(pairs[i][0]), *b = must_load(pairs[i][1]);
		expect_same_values(a, b);
		kerf_graph_free(a);
		kerf_graph_free(b);
	}
}

static void test_fields(void)
{
	struct kerf_graph *g = must_load(
		"in data N,3,8,8; f32 w 4,3,3,3; f32 s 4; f32 b 4=1,2,3,4; f32 m 4; f32 v 4; "
		"node Conv block1/conv data,w conv_out pads=[1,0,2,3] strides=[2,1]; "
		"node BatchNormalization bn conv_out,s,b,m,v bn_out epsilon=0.25; "
		"node Clip act bn_out bn_clipped min=0.0 max=6.0; opset 10; out bn_clipped");

	CU_ASSERT_EQUAL_FATAL(g->n_nodes, 3);
	const struct kerf_node *n = g->nodes;
	CU_ASSERT_STRING_EQUAL(n[0].name, "block1/conv");
	CU_ASSERT_STRING_EQUAL(g->tensors[n[0].output].name, "conv_out");
	CU_ASSERT_STRING_EQUAL(g->tensors[g->input].name, "data");
	CU_ASSERT_STRING_EQUAL(g->tensors[g->output].name, "bn_clipped");
	CU_ASSERT_EQUAL(g->tensors[g->input].dims[0], 1);
	CU_ASSERT_EQUAL(g->tensors[n[0].output].dims[2], 5);
	CU_ASSERT_EQUAL(g->tensors[n[0].output].dims[3], 9);
	CU_ASSERT_EQUAL(memcmp(n[0].pads, (int[]){1, 0, 2, 3}, sizeof(n[0].pads)), 0);
	CU_ASSERT_EQUAL(n[0].residual, KERF_NONE);
	CU_ASSERT_EQUAL(n[1].op, KERF_OP_BATCHNORM);
	CU_ASSERT_EQUAL(n[1].epsilon, 0.25f);
	CU_ASSERT_EQUAL(((float *)g->tensors[n[1].inputs[2]].data)[3], 4);
	CU_ASSERT_EQUAL(n[2].act.kind, KERF_ACT_CLIP);
	CU_ASSERT_EQUAL(n[2].act.lo, 0);
	CU_ASSERT_EQUAL(n[2].act.hi, 6);
	kerf_graph_free(g);
}

static void test_names_become_unique(void)
{
	struct kerf_graph *g = must_load("in x 1,4; node Relu same x a; node Sigmoid same a b; "
					 "node Tanh - b c; node Relu - c same; out same");

	for (int i = 0; i < g->n_nodes; i++)
		for (int j = 0; j < i; j++)
			CU_ASSERT_STRING_NOT_EQUAL(g->nodes[i].name, g->nodes[j].name);
	CU_ASSERT_STRING_EQUAL(g->nodes[0].name, "same");
	CU_ASSERT_STRING_EQUAL(g->nodes[2].name, "c");
	kerf_graph_free(g);
}

static void test_half_floats(void)
{
	/* One, the largest, the smallest normal and subnormal, minus zero and minus two. */
	static const uint16_t halves[6] = {0x3c00, 0x7bff, 0x0400, 0x0001, 0x8000, 0xc000};
	static const float expected[6] = {1, 65504, 0x1p-14f, 0x1p-24f, -0.0f, -2};
	struct bytes t = {0}, model = text_model("in x 1,6; node Mul m x,k y; out y"), graph = {0};

	put_int(&t, 1, 6);
	put_int(&t, 2, 10);
	put_text(&t, 8, "k");
	put_block(&t, 9, halves, sizeof(halves));
	put_message(&graph, 5, &t);
	/* The graph is field 7 and comes after the IR version: lengthen it. */
	CU_ASSERT_EQUAL_FATAL(model.data[2], 7 << 3 | 2);
	CU_ASSERT_TRUE_FATAL(model.data[3] + graph.len < 128);
	struct bytes longer = {0};
	put(&longer, model.data, 4);
	longer.data[3] += (uint8_t)graph.len;
	put(&longer, graph.data, graph.len);
	put(&longer, model.data + 4, model.len - 4);
	struct kerf_err err = {0};
	struct kerf_graph *g = load_bytes(longer.data, longer.len, &err);
	CU_ASSERT_STRING_EQUAL(err.text, "");
	CU_ASSERT_PTR_NOT_NULL_FATAL(g);
	CU_ASSERT_EQUAL(memcmp(g->tensors[g->nodes[0].inputs[1]].data, expected, 24), 0);
	kerf_graph_free(g);
	free(model.data);
	free(graph.data);
	free(longer.data);
}

static void test_wide_concat(void)
{
	char text[4096] = "in x 1,2,3,3; node Concat c ";

	for (int i = 0; i < 70; i++)
		strcat(text, i ? ",x" : "x");
	strcat(text, " y axis=1; out y");
	struct kerf_graph *g = must_load(text);
	CU_ASSERT_EQUAL(g->n_nodes, 3);
	CU_ASSERT_EQUAL(g->tensors[g->output].dims[1], 140);
	float *x = random_input(g), **v = reference_run(g, x);
	for (int i = 0; i < 70 * 18; i++)
		CU_ASSERT_EQUAL(v[g->output][i], x[i % 18]);
	reference_free(g, v);
	free(x);
	kerf_graph_free(g);
}

static void test_digest(void)
{
	struct bytes model = text_model("in x 1,4; node Relu r x y; out y");
	struct kerf_graph *g = load_bytes(model.data, model.len, NULL);
	uint8_t expected[KERF_DIGEST_LEN];

	CU_ASSERT_PTR_NOT_NULL_FATAL(g);
	kerf_digest(model.data, model.len, expected);
	CU_ASSERT_EQUAL(memcmp(g->digest, expected, sizeof(expected)), 0);
	CU_ASSERT_STRING_EQUAL(g->name, strrchr(text_path(), '/') + 1);
	kerf_graph_free(g);
	free(model.data);
}

/* Several outputs are what a Concat of them would be. */
static void test_several_outputs(void)
{
	static const struct {
		const char *several, *joined;
	} cases[] = {
		{"in x 2,3; node Relu r x a; node Sigmoid s x b; out a; out b",
			"in x 2,3; node Relu r x a; node Sigmoid s x b; node Concat c a,b y axis=1; out y"},
		{"in x 2,3,2,2; node Relu r x a; node GlobalAveragePool s a b; out a; out b",
			"in x 2,3,2,2; node Relu r x a; node GlobalAveragePool s a b; node Flatten f a c; node Flatten g b d; "
			"node Concat c c,d y axis=1; out y"},
		{"in x 2,3; node Relu r x a; node Transpose t x b; out a; out b",
			"in x 2,3; i64 s 2=1,6; node Relu r x a; node Transpose t x b; node Reshape f a,s c; "
			"node Reshape g b,s d; node Concat c c,d y axis=1; out y"},
		{"in x 2,3; node Relu r x a; node Identity i x b; out a; out b; out a",
			"in x 2,3; node Relu r x a; node Concat c a,x,a y axis=1; out y"},
	};

	for (size_t i = 0; i < KERF_ARRAY_LEN(cases); i++) {
		struct kerf_graph *a = must_load(cases[i].several), *b = must_load(cases[i].joined);

		expect_same_values(a, b);
		kerf_graph_free(a);
		kerf_graph_free(b);
	}
}

/* Pairs around constants are arithmetic; around what is computed they tell its range, and nothing is rounded. */
static void test_quantised(void)
{
	static const char plain[] = "in x 1,3,4,4; f32 w 2,3,1,1=0.5,-1,63.5,-0.25,0.75,-32; f32 b 2=0.5,-0.5; "
				    "node Conv c x,w,b t; node Relu r t y; out y";
	static const char qdq[] =
		"in x 1,3,4,4; i8 w 2,3,1,1=1,-2,127,-1,3,-128; f32 ws 2=0.5,0.25; i8 wz 2=0,0; i32 b 2=10,-20; "
		"f32 bs 2=0.05,0.025; f32 s -=0.1; u8 z -=128; f32 t -=0.5; i8 i -=-128; "
		"node QuantizeLinear q x,s,z xq; node DequantizeLinear d xq,s,z xd; "
		"node DequantizeLinear dw w,ws,wz wf axis=0; node DequantizeLinear db b,bs bf axis=0; "
		"node Conv c xd,wf,bf k; node Relu r k u; node QuantizeLinear e u,t,i uq; "
		"node DequantizeLinear f uq,t,i y; out y";
	/* A file may also leave the rounding of its weights to whoever reads it. */
	static const char weights[] = "in x 1,1,2,2; f32 w 1,1,1,1=0.7; f32 s -=0.5; node QuantizeLinear q w,s wq; "
				      "node DequantizeLinear d wq,s wf; node Conv c x,wf y; out y";
	struct kerf_graph *a = must_load(qdq), *b = must_load(plain);
	struct kerf_err err = {0};

	CU_ASSERT_EQUAL(a->n_nodes, 2);
	expect_same_values(a, b);
	CU_ASSERT_DOUBLE_EQUAL(a->tensors[a->input].range.lo, -12.8, 1e-5);
	CU_ASSERT_DOUBLE_EQUAL(a->tensors[a->input].range.hi, 12.7, 1e-5);
	CU_ASSERT(kerf_graph_is_quantised(a) && !kerf_graph_is_quantised(b));
	/* ReLU goes into the convolution: what is left has the range behind it. */
	CU_ASSERT_EQUAL(kerf_graph_optimize(a, &err), 0);
	CU_ASSERT_EQUAL(a->n_nodes, 1);
	CU_ASSERT_EQUAL(a->tensors[a->output].range.lo, 0);
	CU_ASSERT_EQUAL(a->tensors[a->output].range.hi, 127.5f);
	kerf_graph_free(a);
	kerf_graph_free(b);
	a = must_load(weights);
	b = must_load("in x 1,1,2,2; f32 w 1,1,1,1=0.5; node Conv c x,w y; out y");
	expect_same_values(a, b);
	kerf_graph_free(a);
	kerf_graph_free(b);
	/* The widest integers have no room for a difference. */
	kerf_graph_free(must_load("in x 1,1; i64 w 1=-9223372036854775807; i64 z 1=9223372036854775807; f32 s 1=1; "
				  "node DequantizeLinear d w,s,z v; node Add a x,v y; out y"));
}

/* What is behind the last dimension of a shape joins nothing to another list. */
static void test_empty_lists(void)
{
	static const char text[] = "in x 2,3,4; node Shape s x d; i64 three 1=3; i64 end 1=9; i64 one 1=1; i64 none 0; "
				   "node Slice a d,three,end t; node Slice b d,one,end u; i64 first 1=2; "
				   "node Concat j t,none k axis=0; node Concat c k,first,u,t v axis=0; node Reshape r x,v z; "
				   "node Relu q z y; out y";
	struct kerf_graph *g = must_load(text);

	CU_ASSERT_EQUAL(g->tensors[g->output].n_dims, 3);
	CU_ASSERT_EQUAL(memcmp(g->tensors[g->output].dims, DIMS(2, 3, 4), 3 * sizeof(int64_t)), 0);
	kerf_graph_free(g);
}

static void test_scatter(void)
{
	static const struct {
		const char *scattered, *plain;
	} cases[] = {
		{"in x 1,4; f32 d 4=1,2,3,4; i64 i 2,1=3,-4; f32 u 2=9,8; node ScatterND s d,i,u t; node Add a x,t y; out y",
			"in x 1,4; f32 t 4=8,2,3,9; node Add a x,t y; out y"},
		/* Whole rows, the later one last; and single values. */
		{"in x 1,3,2; f32 d 3,2=1,2,3,4,5,6; i64 i 3,1=2,0,2; f32 u 3,2=7,8,9,10,11,12; node ScatterND s d,i,u t; "
		 "node Add a x,t y; out y",
			"in x 1,3,2; f32 t 3,2=9,10,3,4,11,12; node Add a x,t y; out y"},
		{"in x 1,3,2; f32 d 3,2=1,2,3,4,5,6; i64 i 1,2,2=0,1,2,-2; f32 u 1,2=7,8; node ScatterND s d,i,u t; "
		 "node Add a x,t y; out y",
			"in x 1,3,2; f32 t 3,2=1,7,3,4,8,6; node Add a x,t y; out y"},
	};

	for (size_t i = 0; i < KERF_ARRAY_LEN(cases); i++) {
		struct kerf_graph *a = must_load(cases[i].scattered), *b = must_load(cases[i].plain);

		expect_same_values(a, b);
		kerf_graph_free(a);
		kerf_graph_free(b);
	}
}

static struct kerf_graph *load_shaped(const char *text, const char *shape, struct kerf_err *err)
{
	struct bytes model = text_model(text);

	write_bytes(text_path(), model.data, model.len);
	struct kerf_graph *g = kerf_graph_load(text_path(), shape, err);
	remove(text_path());
	free(model.data);
	return g;
}

/* The caller's shape fills in what is open, has to agree with the rest, and is part of what the ends compare. */
static void test_input_shape(void)
{
	static const char text[] = "in x N,3,H,?; node Relu r x y; out y";
	static const struct {
		const char *shape, *why;
	} wrong[] = {{"1,3,8", "4 dimensions, 3 were given"}, {"1,4,8,8", "dimension 1 is 3"}, {"1,3,0,8", "input shape"},
		{"1,3,8,x", "input shape"}, {"", "input shape"}, {"1,1,1,1,1,1,1", "input shape"}, {NULL, "give the input's shape"}};
	struct kerf_err err = {0};
	struct kerf_graph *g = load_shaped(text, "2,3,8,6", &err), *other = load_shaped(text, "2,3,6,8", &err);

	CU_ASSERT_PTR_NOT_NULL_FATAL(g);
	CU_ASSERT_PTR_NOT_NULL_FATAL(other);
	CU_ASSERT_EQUAL(memcmp(g->tensors[g->output].dims, DIMS(2, 3, 8, 6), 4 * sizeof(int64_t)), 0);
	CU_ASSERT_NOT_EQUAL(memcmp(g->digest, other->digest, KERF_DIGEST_LEN), 0);
	kerf_graph_free(g);
	kerf_graph_free(other);
	for (size_t i = 0; i < KERF_ARRAY_LEN(wrong); i++) {
		CU_ASSERT_PTR_NULL(load_shaped(text, wrong[i].shape, &err));
		if (!strstr(err.text, wrong[i].why))
			printf("\n%s\n", err.text);
		CU_ASSERT_PTR_NOT_NULL(strstr(err.text, wrong[i].why));
	}
}

/* ---- writing ---- */

static struct kerf_graph *save_and_load(const struct kerf_graph *g)
{
	struct kerf_err err = {0};

	CU_ASSERT_EQUAL(kerf_graph_save(g, text_path(), &err), 0);
	struct kerf_graph *back = kerf_graph_load(text_path(), NULL, &err);
	if (!back)
		printf("\n%s\n", err.text);
	CU_ASSERT_PTR_NOT_NULL_FATAL(back);
	remove(text_path());
	return back;
}

static void test_round_trips(void)
{
	static const char *const texts[] = {
		"in x 2,4,9,8; f32 w 6,2,3,2; f32 b 6; node Conv c x,w,b y group=2 strides=[2,1] "
		"pads=[1,0,2,1] dilations=[1,3]; out y",
		"in x 2,4,9,8; f32 w 6,4,1,1; node Conv c x,w y; out y",
		"in x 2,7; f32 w 3,7; f32 b 3; node Gemm g x,w,b y transB=1; out y",
		"in x 2,7; f32 w 7,3; node MatMul g x,w y; out y",
		"in x 2,3,4; f32 s 3; f32 b 3; f32 m 3; f32 v 3; "
		"node BatchNormalization n x,s,b,m,v y epsilon=0.125; out y",
		"in x 2,9; node Relu a x y; out y",
		"in x 2,9; node Sigmoid a x y; out y",
		"in x 2,9; node Tanh a x y; out y",
		"in x 2,9; node LeakyRelu a x y alpha=0.3; out y",
		"in x 2,9; node HardSigmoid a x y alpha=0.3 beta=0.4; out y",
		"opset 9; in x 2,9; node Clip a x y min=-0.5 max=0.5; out y",
		"opset 9; in x 2,9; node Clip a x y min=-0.5; out y",
		"in x 2,4,3,3; f32 c 4,1,1; node Add a x,c t; node Mul m x,t y; out y",
		"in x 2,4,9,8; node MaxPool p x y kernel_shape=[3,2] strides=[2,2] pads=[1,0,2,1] "
		"dilations=[2,2]; out y",
		"in x 2,4,9,8; node AveragePool p x y kernel_shape=[3,2] strides=[2,2] "
		"pads=[1,0,2,1]; "
		"out y",
		"in x 2,4,9,8; node AveragePool p x y kernel_shape=[3,3] pads=[1,1,1,1] "
		"count_include_pad=1; out y",
		"in x 2,4,9,8; node GlobalAveragePool p x y; out y",
		"in x 2,4,3,3; node Relu r x t; node Concat c x,t,x y axis=2; out y",
		"in x 2,4,3,3; node Flatten f x y axis=2; out y",
		"in x 2,4,3,3; node Softmax s x y axis=2; out y",
		"in x 2,4,3,5; node Transpose t x y perm=[0,2,3,1]; out y",
		"opset 10; in x 2,4,3,5; node Pad p x y pads=[0,0,1,2,0,0,3,4]; out y",
		"in x 2,4,3,5; i64 s 3=-1,0,3; i64 e 3=-9,3,5; i64 a 3=1,2,3; i64 t 3=-1,2,1; node Slice p x,s,e,a,t y; out y",
	};

	for (size_t i = 0; i < KERF_ARRAY_LEN(texts); i++) {
		struct kerf_graph *g = must_load(texts[i]), *back = save_and_load(g);
		CU_ASSERT_EQUAL(g->n_nodes, back->n_nodes);
		for (int j = 0; j < g->n_nodes && j < back->n_nodes; j++) {
			const struct kerf_node *a = &g->nodes[j], *b = &back->nodes[j];
			CU_ASSERT_STRING_EQUAL(a->name, b->name);
			CU_ASSERT_STRING_EQUAL(
				g->tensors[a->output].name, back->tensors[b->output].name);
			CU_ASSERT_EQUAL(a->op, b->op);
			CU_ASSERT_EQUAL(a->act.kind, b->act.kind);
			CU_ASSERT_EQUAL(a->act.lo, b->act.lo);
		}
		CU_ASSERT_STRING_EQUAL(g->tensors[g->input].name, back->tensors[back->input].name);
		expect_same_values(g, back);
		kerf_graph_free(g);
		kerf_graph_free(back);
	}
}

static struct kerf_graph *one_act(enum kerf_act_kind kind)
{
	struct kerf_graph *g = kerf_graph_create("act");
	struct kerf_node n = {.name = (char *)"block1/act",
		.op = KERF_OP_ACT,
		.n_inputs = 1,
		.act = {.kind = kind}};

	g->input = kerf_graph_add_tensor(g, "x", KERF_F32, 2, DIMS(3, 50));
	g->output = kerf_graph_add_node(g, &n, NULL);
	CU_ASSERT_TRUE_FATAL(g->output >= 0);
	return g;
}

/* SiLU and hard-swish have no operator of their own in opset 13. */
static void test_gated_activations(void)
{
	static const enum kerf_act_kind kinds[] = {KERF_ACT_SILU, KERF_ACT_HARD_SWISH};

	for (size_t i = 0; i < KERF_ARRAY_LEN(kinds); i++) {
		struct kerf_graph *g = one_act(kinds[i]), *back = save_and_load(g);
		CU_ASSERT_EQUAL(back->n_nodes, 2);
		CU_ASSERT_STRING_EQUAL(back->nodes[0].name, "block1/act_gate");
		CU_ASSERT_STRING_EQUAL(back->nodes[1].name, "block1/act");
		expect_same_values(g, back);
		kerf_graph_free(g);
		kerf_graph_free(back);
	}
}

/* Tensors of one name are two values in a file all the same. */
static void test_clashing_names(void)
{
	struct kerf_graph *g = kerf_graph_create("clash");
	float *a = malloc(sizeof(*a)), *b = malloc(sizeof(*b));

	*a = 2;
	*b = 3;
	g->input = kerf_graph_add_tensor(g, "k", KERF_F32, 2, DIMS(1, 5));
	struct kerf_node n = {.name = (char *)"k",
		.op = KERF_OP_MUL,
		.n_inputs = 2,
		.inputs = {g->input, kerf_graph_add_constant(g, "k", KERF_F32, 0, NULL, a)}};
	int product = kerf_graph_add_node(g, &n, NULL);
	n = (struct kerf_node){.name = (char *)"k_1",
		.op = KERF_OP_ADD,
		.n_inputs = 2,
		.inputs = {product, kerf_graph_add_constant(g, "k_1", KERF_F32, 0, NULL, b)}};
	g->output = kerf_graph_add_node(g, &n, NULL);
	struct kerf_graph *back = save_and_load(g);
	CU_ASSERT_STRING_EQUAL(back->tensors[back->input].name, "k");
	CU_ASSERT_STRING_EQUAL(back->tensors[back->output].name, "k_1");
	expect_same_values(g, back);
	kerf_graph_free(back);
	kerf_graph_free(g);
}

static void test_save_refuses(void)
{
	struct kerf_graph *g = one_act(KERF_ACT_RELU), *empty = kerf_graph_create("empty");
	struct kerf_err err = {0};

	CU_ASSERT_TRUE(kerf_graph_save(empty, text_path(), &err) < 0);
	CU_ASSERT_EQUAL(kerf_graph_save(g, "/nonexistent/dir/x.onnx", &err), -ENOENT);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "/nonexistent/dir/x.onnx"));
	g->nodes[0].residual = g->input;
	CU_ASSERT_EQUAL(kerf_graph_save(g, text_path(), &err), -EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "block1/act"));
	CU_ASSERT_NOT_EQUAL(access(text_path(), F_OK), 0);
	kerf_graph_free(g);
	kerf_graph_free(empty);
}

static int count_files(const char *dir)
{
	DIR *d = opendir(dir);
	int n = 0;

	CU_ASSERT_PTR_NOT_NULL_FATAL(d);
	for (struct dirent *e = readdir(d); e; e = readdir(d))
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

/* The old file stays until the new one is whole, and nothing else is left behind. */
static void test_save_replaces(void)
{
	char dir[] = "/tmp/kerf-onnx-XXXXXX", path[64], folder[64];
	struct kerf_graph *g = one_act(KERF_ACT_RELU);
	struct stat st;

	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/m.onnx", dir);
	snprintf(folder, sizeof(folder), "%s/folder", dir);
	write_bytes(path, "old", 3);
	g->nodes[0].residual = g->input;
	CU_ASSERT_TRUE(kerf_graph_save(g, path, NULL) < 0);
	CU_ASSERT_EQUAL(stat(path, &st), 0);
	CU_ASSERT_EQUAL(st.st_size, 3);
	g->nodes[0].residual = KERF_NONE;
	CU_ASSERT_EQUAL(kerf_graph_save(g, path, NULL), 0);
	CU_ASSERT_EQUAL(stat(path, &st), 0);
	CU_ASSERT_TRUE(st.st_size > 3);
	CU_ASSERT_EQUAL(count_files(dir), 1);
	/* A rename that fails: the target is a folder. */
	CU_ASSERT_EQUAL(mkdir(folder, 0700), 0);
	CU_ASSERT_TRUE(kerf_graph_save(g, folder, NULL) < 0);
	CU_ASSERT_EQUAL(count_files(dir), 2);
	rmdir(folder);
	remove(path);
	rmdir(dir);
	kerf_graph_free(g);
}

/* ---- real networks ---- */

static const char *const real_names[] = {
	"mobilenet_v1_0.25_128_imagenet",
	"mobilenet_v1_0.5_160_imagenet",
	"mobilenet_v1_0.75_192_imagenet",
	"mobilenet_v2_1.0_224_imagenet",
	"squeezenet1.1_imagenet_fp32",
	"squeezenet1.1_imagenet_fp16_original",
};

static struct kerf_graph *load_real(const char *name)
{
	char path[4400];
	struct kerf_err err = {0};

	snprintf(path, sizeof(path), "%s/models/models/%s.onnx", unit_test_data(), name);
	struct kerf_graph *g = access(path, R_OK) == 0 ? kerf_graph_load(path, NULL, &err) : NULL;
	if (err.text[0])
		printf("\n%s\n", err.text);
	CU_ASSERT_STRING_EQUAL(err.text, "");
	return g;
}

static void test_real_networks_load(void)
{
	if (!unit_test_data()) {
		printf("SKIP no test data ");
		return;
	}
	for (size_t i = 0; i < KERF_ARRAY_LEN(real_names); i++) {
		struct kerf_graph *g = load_real(real_names[i]);
		if (!g)
			continue;
		bool squeezenet = real_names[i][0] == 's';
		CU_ASSERT_EQUAL(g->tensors[g->input].n_dims, 4);
		CU_ASSERT_EQUAL(g->tensors[g->input].dims[1], 3);
		CU_ASSERT_EQUAL(
			kerf_tensor_elements(&g->tensors[g->output]), squeezenet ? 1000 : 1001);
		struct kerf_graph *back = save_and_load(g);
		CU_ASSERT_EQUAL(back->n_nodes, g->n_nodes);
		kerf_graph_free(back);
		kerf_graph_free(g);
	}
}

static float *read_floats(const char *name, const char *kind, int64_t n)
{
	char path[4400];
	float *values = malloc((size_t)n * sizeof(*values));

	snprintf(path, sizeof(path), "%s/models/expected/%s.kitten.%s.f32", unit_test_data(), name,
		kind);
	FILE *f = fopen(path, "rb");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	CU_ASSERT_EQUAL(fread(values, sizeof(*values), (size_t)n, f), (size_t)n);
	fclose(f);
	return values;
}

/* What the reader makes of the smallest real network computes what ONNX Runtime does. */
static void test_real_values(void)
{
	const char *name = real_names[0];
	struct kerf_graph *g = unit_test_data() ? load_real(name) : NULL;

	if (!g) {
		printf("SKIP no test data ");
		return;
	}
	int64_t n = kerf_tensor_elements(&g->tensors[g->output]);
	float *x = read_floats(name, "input", kerf_tensor_elements(&g->tensors[g->input]));
	float *expected = read_floats(name, "output", n), **v = reference_run(g, x);
	double error = 0, norm = 0;
	for (int64_t i = 0; i < n; i++) {
		double e = v[g->output][i] - expected[i];
		error += e * e;
		norm += (double)expected[i] * expected[i];
	}
	CU_ASSERT_TRUE(sqrt(error / norm) < 1e-4);
	reference_free(g, v);
	free(x);
	free(expected);
	kerf_graph_free(g);
}

UNIT_MAIN("onnx", UNIT(test_equivalents), UNIT(test_fields), UNIT(test_names_become_unique),
	UNIT(test_half_floats), UNIT(test_wide_concat), UNIT(test_digest), UNIT(test_several_outputs), UNIT(test_quantised), UNIT(test_scatter), UNIT(test_empty_lists), UNIT(test_input_shape), UNIT(test_round_trips),
	UNIT(test_gated_activations), UNIT(test_clashing_names), UNIT(test_save_refuses),
	UNIT(test_save_replaces), UNIT(test_real_networks_load), UNIT(test_real_values))
