/* The ONNX reader on files that are not fine: one clear line each, and never a crash. */
#include "graph/graph.h"
#include "unit.h"

#include "onnx_seeds.h"

#include <sys/stat.h>

#define SEED 20241123

/* Loads what must be refused; the line names the file and holds every '|' separated part. */
static void expect_refusal(const char *what, const void *data, size_t len, const char *parts)
{
	struct kerf_err err = {0};
	struct kerf_graph *g = load_bytes(data, len, &err);
	char copy[256], *save;
	bool good = !g && strncmp(err.text, text_path(), strlen(text_path())) == 0 &&
		    !strchr(err.text, '\n');

	snprintf(copy, sizeof(copy), "%s", parts);
	for (char *p = strtok_r(copy, "|", &save); p; p = strtok_r(NULL, "|", &save))
		good = good && strstr(err.text, p);
	if (!good)
		printf("\n%s\n  expected %s, found %s\n", what, parts, g ? "a graph" : err.text);
	CU_ASSERT_TRUE(good);
	kerf_graph_free(g);
}

static void test_refusals(void)
{
	static const struct {
		const char *text, *parts;
	} cases[] = {
		/* The model. */
		{"opset 0; in x 1,4; node Relu r x y; out y", "opset 0|1 to 22"},
		{"opset 6; in x 1,4; node Dropout r x t; node Relu q t y; out y", "node r|is_test"},
		{"opset 6; in x 1,4; f32 k 4; node Add a x,k y broadcast=1 axis=2; out y", "node a|axis 2"},
		{"opset 23; in x 1,4; node Relu r x y; out y", "opset 23|1 to 22"},
		{"ir 2; in x 1,4; node Relu r x y; out y", "IR version 2"},
		{"in x 1,4; out x", "no nodes"},
		{"node Relu r x y; out y", "no input"},
		{"in a 1,4; in b 1,4; node Add s a,b y; out y", "two inputs|a|b"},
		{"in a 1,4; in b 1,4; node Relu s a y; out y", "two inputs"},
		{"in x 1,4; node Relu r x y", "no output"},
		{"in x 1,4; node Relu r x y; out z", "output z"},
		{"in x 1,4; node Relu r x y; out x", "output x is computed by no node"},
		{"in x 1,4; f32 k 4; node Relu r x y; out k", "output k is computed by no node"},
		{"in x 1,4; node Dropout r x y,mask; node Relu s y z; out mask", "node r|output 1, mask"},
		/* Input shapes. */
		{"in x 1,H; node Relu r x y; out y", "input x|dimension 1|H"},
		{"in x 1,?; node Relu r x y; out y", "input x|dimension 1|open"},
		{"in x 1,-4; node Relu r x y; out y", "input x|dimension 1 is -4"},
		{"in x -1,4; node Relu r x y; out y", "input x|dimension 0 is -1"},
		{"in x 1,0; node Relu r x y; out y", "input x|dimension 1 is 0"},
		{"in x 1,9223372036854775807; node Relu r x y; out y", "input x|dimension 1"},
		{"in x 65536,65536; node Relu r x y; out y", "input x|too many elements"},
		{"in x 1,1,1,1,1,1,1; node Relu r x y; out y", "input x|7 dimensions"},
		{"in x -; node Relu r x y; out y", "input x|0 dimensions"},
		{"in8 x 1,4; node Relu r x y; out y", "input x|element type 2"},
		{"in x 1,4; f32 d 4; i64 i 1,1=4; f32 u 1; node ScatterND s d,i,u t; node Add a x,t y; out y", "node s|indices 0"},
		{"in x 1,4; f32 d 4; i64 i 1,2=0,0; f32 u 1; node ScatterND s d,i,u t; node Add a x,t y; out y", "node s|go together"},
		{"in x 1,4; f32 d 4; i64 i 2,1=0,1; f32 u 1; node ScatterND s d,i,u t; node Add a x,t y; out y", "node s|1 updates"},
		{"in x 1,4; f32 d 4; i64 i 1,1=0; f32 u 1; node ScatterND s d,i,u t reduction=add; node Add a x,t y; out y",
			"node s|reduction add"},
		{"in x 1,4; i64 i 1,1=0; f32 u 1,4; node ScatterND s x,i,u y; out y", "node s|computed"},
		{"in x 2,3; node Shape s x d; i64 a 1=2; i64 e 1=9; node Slice sl d,a,e t; node Reshape r x,t y; out y",
			"node r|t"},
		{"in x 2,3; node Shape s x d; i64 a 1=2; i64 e 1=9; node Slice sl d,a,e t; node Add r x,t y; out y",
			"node r|empty list t"},
		{"in x 2,3; node Shape s x d; i64 a 1=2; i64 e 1=9; node Slice sl d,a,e y; node Relu r x z; out y", "y"},
		/* Quantisation. */
		{"in x 1,4; f32 s -=1; node QuantizeLinear q x,s y; out y", "node q|integers are the output y"},
		{"in x 1,4; f32 s -=1; node QuantizeLinear q x,s t; node Relu r t y; out y", "node r|integers t"},
		{"in x 1,4; f32 s -=1; node QuantizeLinear q x,s t; node Identity i t y; out y", "integers are the output y"},
		{"in x 1,4; f32 s -=1; node DequantizeLinear d x,s y; out y", "node d|neither"},
		{"in x 1,4; f32 s -=0; node QuantizeLinear q x,s t; node DequantizeLinear d t,s y; out y", "node q|scale"},
		{"in x 1,4; f32 s -=-1; node QuantizeLinear q x,s t; node DequantizeLinear d t,s y; out y", "node q|scale"},
		{"in x 1,4; f32 s 2=1,2; node QuantizeLinear q x,s t; node DequantizeLinear d t,s y; out y", "node q|2 scales"},
		{"in x 1,4; f32 s -=1; f32 u -=2; node QuantizeLinear q x,s t; node DequantizeLinear d t,u y; out y",
			"node d|not those of the QuantizeLinear"},
		{"in x 1,4; f32 s -=1; f32 z -=1; node QuantizeLinear q x,s,z t; node DequantizeLinear d t,s,z y; out y",
			"node q|zero points"},
		{"in x 1,4; f32 s -=1; u8 z 2=1,1; node QuantizeLinear q x,s,z t; node DequantizeLinear d t,s,z y; out y",
			"node q|2 zero points for 1 scales"},
		{"in x 1,4; f32 s -=1; i64 z -=1; node QuantizeLinear q x,s,z t; node DequantizeLinear d t,s,z y; out y",
			"node q|type 7"},
		{"in x 1,4; f32 s -=1; i8 z -=0; node Cast c z k to=7; node QuantizeLinear q x,s,k t; "
		 "node DequantizeLinear d t,s,k y; out y",
			"node q|type -1"},
		{"in x 1,4; i8 w 4,3; f32 s 2=1,1; node DequantizeLinear d w,s v; node MatMul m x,v y; out y",
			"node d|2 scales for 3 places"},
		{"in x 1,4; i8 w 4,3; f32 s 2=1,1; node DequantizeLinear d w,s v axis=5; node MatMul m x,v y; out y", "node d|axis 5"},
		{"in x 1,4; i8 w 4,3; f32 s -=1; node DequantizeLinear d w,s v block_size=2; node MatMul m x,v y; out y",
			"node d|block_size 2"},
		/* Names and order. */
		{"in x 1,4; f32 k 4; f32 k 4; node Add a x,k y; out y", "name k|twice"},
		{"in x 1,4; node Relu r x y; node Tanh s x y; out y", "name y|twice"},
		{"in x 1,4; node Relu r x x; out x", "name x|twice"},
		{"in x 1,4; f32 y 4; node Relu r x y; out y", "name y|twice"},
		{"in x 1,4; in x 1,4; node Relu r x y; out y", "name x|twice"},
		{"in x 1,4; node Relu r nowhere y; out y", "node r|Relu|nowhere|defined nowhere"},
		{"in x 1,4; node Relu r - y; out y", "node r|input 0 is missing"},
		{"in x 1,4; node Relu r x -; node Relu s x y; out y", "node r|no output"},
		{"in x 1,4; node Relu r x,x y; out y", "node r|2 inputs|at most 1"},
		{"in x 1,4; node Dropout d x a,mask; node Add r a,mask y; out y", "node r|mask"},
		{"in x 1,4; node Add one x,c a; node Relu two a b; node Relu three b c; "
		 "node Relu after c y; out y",
			"cycle"},
		{"in x 1,4; node Add self x,y y; out y", "node self|cycle"},
		{"in x 1,4; node Relu late b y; node Identity i c b; node Identity j b c; out y",
			"cycle"},
		/* Operators. */
		{"in x 1,4; node Relu ok x a; node GridSample up a b; node Det s b c; node GridSample u2 c d; "
		 "node Unique e d y; out y",
			"node up|operator GridSample|also: Det, Unique"},
		/* Functions and arithmetic. */
		{"in x 1,4; node Gelu g x y approximate=tanh; out y", "node g|tanh"},
		{"in x 1,4; node ArgMax a x y axis=2; out y", "node a|axis 2"},
		{"in x 1,4; node ReduceSum r x,x y; out y", "node r|axes|computed"},
		{"in x 1,4; node LayerNormalization l x,k y axis=3; f32 k 4; out y", "node l|axis 3"},
		{"in x 1,4; f32 k 3; node LayerNormalization l x,k y; out y", "node l|[3]|[4]"},
		{"in x 1,4; f32 k 4; node InstanceNormalization l x,k,k y; out y", "node l|at least 3"},
		{"in x 1,4,5; f32 k 3; node InstanceNormalization l x,k,k y; out y", "node l|[3]|[4,1]"},
		{"in x 1,4,5,5; node LRN l x y size=0; out y", "node l|size 0"},
		{"in x 2,3,4; node Einsum e x y equation=abb->a; out y", "node e|abb->a|twice"},
		{"in x 2,3,4; node Einsum e x y equation=ab->a; out y", "node e|dimensions of floats"},
		{"in x 2,3,4; node Einsum e x,x y equation=abc,bad; out y", "node e|two sizes"},
		{"in x 2,3,4; node Einsum e x y equation=abc->abd; out y", "node e|a letter of its own"},
		{"in x 2,3,4; node Einsum e x,x y equation=abc,def,ghi; out y", "node e|more than two"},
		{"in x 2,3,4; node Einsum e x y equation=...c->c; out y", "node e|letters, commas"},
		{"in x 2,3,4; node Einsum e x y equation=abcdefg->a; out y", "node e|too many"},
		{"in x 2,3,4; node Einsum e x y equation=abc,abc; out y", "node e|number of operands"},
		{"in x 2,3,4; node Einsum e x,- y equation=abc,abc; out y", "node e|operand 1"},
		/* Sizes and conditions. */
		{"in x 1,4; node Shape s x t start=1 end=1; node Add a t,t y; out y", "node s|empty"},
		{"in x 1,4; node Cast c x t to=7; out t", "node c|computed"},
		{"in x 1,4; i64 k 4; node Cast c k t to=8; out t", "node c|type 8"},
		{"in x 1,4; f32 k 3; node Equal e x,k t; out t", "node e|[3]|[1,4]"},
		{"in x 1,4; i64 k 4; f32 f 3; node Where w k,x,f y; out y", "node w_else|[3]|[4]"},
		{"in x 1,4; i64 k 1=0; node Mod m k,k t; node Add a x,t y; out y", "node m|division by 0"},
		{"in x 1,4; i64 k 2; f32 f 2; node Where w k,k,f y; out y", "node w|integers or floats"},
		{"in x 1,4; i64 k 2; i64 l 3; node Equal e k,l y; out y", "node e|do not go together"},
		{"in x 1,4; i64 a -=0; i64 b -=9; i64 c -=0; node Range r a,b,c y; out y", "node r|steps of 0"},
		{"in x 1,4; i64 a -=0; i64 b -=9223372036854775807; i64 c -=1; node Range r a,b,c y; out y", "node r|from 0"},
		{"in x 1,4; i64 s 2=99999,99999; node ConstantOfShape c s y; out y", "node c|no room"},
		{"in x 1,4; i64 s 2=9999,9999; node ConstantOfShape c s y; out y", "node c|far more than the file"},
		{"in x 1,4; i64 s 1=-1; node ConstantOfShape c s y; out y", "node c|no room"},
		/* Tables of indices. */
		{"in x 1,4; i64 s 1=3; node Expand e x,s y; out y", "node e|4|3"},
		{"in x 1,4; i64 s 2=1,0; node Tile t x,s y; out y", "node t|0 repeats"},
		{"in x 1,4; i64 s 2=1,2147483647; node Tile t x,s y; out y", "node t|out of range"},
		{"in x 1,4; i64 s 3=1,1,1; node Tile t x,s y; out y", "node t|3 repeats"},
		{"in x 1,4; i64 p 4=0,0,0,-4; node Pad p x,p y; out y", "node p|-4"},
		{"in x 1,4; i64 p 4=0,0,0,9; node Pad p x,p y mode=mirror; out y", "node p|mirror"},
		{"in x 1,4; i64 p 3=0,0,0; node Pad p x,p y; out y", "node p|3 pads"},
		{"in x 1,4; i64 p 4=0,0,0,2147483647; node Pad p x,p y; out y", "node p"},
		{"in x 1,1,4,4; f32 s 4=1,1,2,2; node Resize r x,-,s y mode=area; out y", "node r|area"},
		{"in x 1,1,4,4; f32 s 4=1,1,2,2; node Resize r x,-,s y antialias=1; out y", "node r|antialias 1"},
		{"in x 1,1,4,4; f32 s 3=1,1,2; node Resize r x,-,s y; out y", "node r|3 scales"},
		{"in x 1,1,4,4; f32 s 4=1,1,0,2; node Resize r x,-,s y; out y", "node r|becomes 0"},
		{"in x 1,1,4,4; i64 s 4=1,1,-2,2; node Resize r x,-,-,s y; out y", "node r|becomes -2"},
		{"in x 1,1,4,4; node Resize r x y; out y", "node r|0 scales"},
		{"in x 1,3,4,4; node DepthToSpace d x y blocksize=2; out y", "node d|blocks of 2"},
		{"in x 1,4,4,4; node DepthToSpace d x y; out y", "node d|blocks of 0"},
		{"in x 1,4,4,4; f32 w 4,2,3,3; node ConvTranspose c x,w y group=3; out y", "node c|3 groups"},
		{"in x 1,4,4,4; f32 w 4,2,3,3; node ConvTranspose c x,w y output_padding=[-1,0]; out y", "node c|-1"},
		{"in x 1,4,4,4; f32 w 4,2,3,3; node ConvTranspose c x,w y pads=[9,9,9,9]; out y", "node c"},
		/* Parts of a tensor. */
		{"in x 1,4; i64 s 1=0; i64 e 2=1,1; node Slice p x,s,e y; out y", "node p|2 ends for 1 starts"},
		{"in x 1,4; i64 s 1=4; i64 e 1=9; i64 a 1=1; node Slice p x,s,e,a y; out y", "node p|nothing is left of axis 1"},
		{"in x 1,4; i64 s 1=0; i64 e 1=9; i64 a 1=1; i64 t 1=0; node Slice p x,s,e,a,t y; out y", "node p|step of 0"},
		{"in x 1,4; i64 s 2=0,0; i64 e 2=9,9; i64 a 2=1,-1; node Slice p x,s,e,a y; out y", "node p|axis 1 is there twice"},
		{"in x 1,4; i64 s 1=0; node Slice p x,s y; out y", "node p|0 ends"},
		{"in x 1,4; i64 s 2=1,2; node Split p x,s a,b axis=1; node Add q a,b y; out y", "node p|3 in all|4"},
		{"in x 1,4; i64 s 2=-1,5; node Split p x,s a,b axis=1; node Add q a,b y; out y", "node p|part 0 has -1"},
		{"in x 1,4; node Split p x a,b axis=2; node Add q a,b y; out y", "node p|axis 2"},
		{"in x 1,4; node MaxPool p x a,b; node Relu r b y; out y", "node r|output 1"},
		{"in x 1,4; i64 i -=4; node Gather p x,i y axis=1; out y", "node p|index 4"},
		{"in x 1,4; f32 i 3; node Gather p x,i y axis=1; out y", "node p|floats"},
		{"in x 1,4; node Gather p x,x y axis=1; out y", "node p|computed"},
		{"in x 1,4; node com.acme:Relu r x y; out y", "node r|com.acme.Relu"},
		{"in x 1,4; node If i x y; out y", "node i|operator If"},
		/* Constants. */
		{"in x 1,4; short k 4; node Add a x,k y; out y",
			"node a|Add|constant k|12 bytes|16"},
		{"in x 1,4; ext k 4; node Add a x,k y; out y", "constant k|names no file"},
		{"in x 1,4; ext k 4=/etc/passwd; node Add a x,k y; out y", "constant k|/etc/passwd|outside the model"},
		{"in x 1,4; ext k 4=../etc/passwd; node Add a x,k y; out y", "constant k|../etc/passwd|outside the model"},
		{"in x 1,4; ext k 4=kerf-no-such-file; node Add a x,k y; out y", "constant k|kerf-no-such-file|No such file"},
		{"in x 1,4; i64 k 4; node Add a x,k y; out y", "node a|k holds integers"},
		{"in x 1,4; f32 k -4; node Add a x,k y; out y", "constant k|-4"},
		{"in x 1,4; f32 k 0; node Add a x,k y; out y", "constant k|dimension 0 is 0"},
		{"in x 1,4; f32 k 4294967296,4294967296,4294967296; node Add a x,k y; out y",
			"constant k|out of range"},
		{"in x 1,4; f32 k 1,1,1,1,1,1,4; node Add a x,k y; out y",
			"constant k|7 dimensions"},
		{"in x 1,4; node Constant k - k sparse_value=1; node Add a x,k y; out y",
			"node k|value"},
		/* Convolution and pools. */
		{"in x 1,2,9; f32 w 2,2,1,3; node Conv c x,w y; out y", "node c|4 dimensions"},
		{"in x 1,3,9,9; f32 w 4,2,3,3; node Conv c x,w y; out y", "node c|2 channels|3"},
		{"in x 1,2,9,9; node Relu w x z; node Conv c x,z y; out y", "node c|computed"},
		{"in x 1,2,9,9; f32 w 4,2,3,3; node Conv c x,w y strides=[0,1]; out y",
			"node c|strides 0"},
		{"in x 1,2,9,9; f32 w 4,2,3,3; node Conv c x,w y strides=[1]; out y",
			"node c|attribute strides has 1 integers, expected 2"},
		{"in x 1,2,9,9; f32 w 4,2,3,3; node Conv c x,w y strides=[4294967297,1]; out y",
			"node c|strides|out of range"},
		{"in x 1,2,9,9; f32 w 4,2,3,3; node Conv c x,w y pads=[-1,0,0,0]; out y",
			"node c|pads -1"},
		{"in x 1,2,9,9; f32 w 4,2,3,3; node Conv c x,w y group=0; out y",
			"node c|group is 0"},
		{"in x 1,2,9,9; f32 w 4,2,3,3; node Conv c x,w y group=3; out y",
			"node c|3 groups"},
		{"in x 1,2,9,9; f32 w 4,2,3,3; node Conv c x,w y group=two; out y", "node c|group"},
		{"in x 1,2,9,9; f32 w 4,2,3,3; node Conv c x,w y auto_pad=BEST; out y",
			"node c|BEST"},
		{"in x 1,2,9,9; f32 w 4,2,3,3; node Conv c x,w y kernel_shape=[3,4]; out y",
			"node c|3x4"},
		{"in x 1,2,9,9; f32 w 4,2,3,3; node Conv c x,w y "
		 "dilations=[2147483647,2147483647] auto_pad=SAME_UPPER; out y",
			"node c|out of range"},
		{"in x 1,2,9,9; f32 w 4,2,3,3; f32 b 3; node Conv c x,w,b y; out y",
			"node c|b|[4]"},
		{"in x 1,2,9,9; node MaxPool p x y; out y", "node p|kernel_shape"},
		{"in x 1,2,9,9; node MaxPool p x y kernel_shape=[10,1]; out y",
			"node p|height of 9"},
		{"in x 1,2,9,9; node MaxPool p x y kernel_shape=[2,2] pads=[2,0,0,0]; out y",
			"node p|pad"},
		{"in x 1,2,8,8; node AveragePool p x y kernel_shape=[3,3] strides=[2,2] "
		 "ceil_mode=1 "
		 "count_include_pad=1; out y",
			"node p|ceil_mode|count_include_pad"},
		{"in x 1,2,9; node GlobalAveragePool p x y; out y", "node p|4 dimensions"},
		{"in x 1,2,9,9; node ReduceMean m x y axes=[2,7]; out y", "node m|axis 7"},
		{"in x 1,2,9,9; i64 w 4,2,3,3; node Conv c x,w y; out y", "node c|w holds integers"},
		{"in x 1,4,4,4; i64 w 4,2,3,3; node ConvTranspose c x,w y; out y", "node c|w holds integers"},
		/* Matrix products. */
		{"in x 2,3; i64 w 3,4; node Gemm g x,w y; out y", "node g|w holds integers"},
		{"in x 2,3; f32 w 3,4; i64 b 4; node Gemm g x,w,b y; out y", "node g|b holds integers"},
		{"in x 2,3; i64 w 3,4; node MatMul m x,w y; out y", "node m|holds integers"},
		{"in x 2,3; f32 w 3,4; node Gemm g x,w y transA=1; out y", "node g|weights take 3"},
		{"in x 2,3; f32 w 4,5; node Gemm g x,w y; out y", "node g|4 values|3"},
		{"in x 2,3; f32 w 3,4; f32 b 4,1; node Gemm g x,w,b y; out y",
			"node g|b [4,1] does not broadcast"},
		{"in x 1,3; f32 w 3,4; f32 b 2,4; node Gemm g x,w,b y; out y", "node g|bias is [2,4]|1 rows"},
		{"in x 4,3; f32 w 3,4; f32 b 1,4,4; node Gemm g x,w,b y; out y", "node g|bias is [1,4,4]"},
		{"in x 2,3; f32 w 3,4; i64 b 2,4; node Gemm g x,w,b y; out y", "node g"},
		/* Transposed convolutions of volumes. */
		{"in x 1,2,3,4,5; f32 w 2,3,2,2,2; node ConvTranspose c x,w y dilations=[1,2147483647,2147483647]; out y", "node c"},
		{"in x 1,2,3,4,5; f32 w 2,3,3,3,3; node ConvTranspose c x,w y dilations=[2147483647,1,1] pads=[2147483647,0,0,2147483647,0,0]; out y",
			"node c|out of range"},
		{"in x 1,2,3,4,5; f32 w 2,3,2,2,2; node ConvTranspose c x,w y output_padding=[2147483647,0,0]; out y", "node c"},
		{"in x 1,2,3,4,5; f32 w 2,3,2,2,2; node ConvTranspose c x,w y output_padding=[0,2147483640,2147483640]; out y", "node c"},
		{"in x 1,2,3,4,5; f32 w 2,3,2,2,2; node ConvTranspose c x,w y strides=[2147483647,1,1]; out y", "node c"},
		{"in x 1,2,3,4,5; f32 w 2,3,2,2,2; node ConvTranspose c x,w y pads=[2,0,0,0,0,0]; out y", "node c|out of range"},
		{"in x 1,2,3,4,5; f32 w 2,3,2,2,2; node ConvTranspose c x,w y group=3; out y", "node c|3 groups"},
		{"in x 1,2,3,4,5; f32 w 2,3,2,2; node ConvTranspose c x,w y; out y", "node c|expected 5"},
		{"in x 2,3; f32 w 3; node Gemm g x,w y; out y", "node g|1|expected 2"},
		{"in x 2,3; node MatMul m x,x y; out y", "node m|no product"},
		{"in x 2,2,3; f32 w 3,3,4; node MatMul m x,w y; out y", "node m|batches of 2 and 3"},
		{"in x 2,3; f32 w -; node MatMul m x,w y; out y", "node m|single number"},
		{"in x 2,3; f32 w 4,3; node MatMul m w,x y; out y", "node m|no product"},
		/* The rest. */
		{"in x 2,3; f32 k 4; node Add a x,k y; out y", "node a|k [4]|x [2,3]"},
		{"in x 2,3; f32 s 2; f32 t 3; node BatchNormalization b x,t,t,t,s y; out y",
			"node b|s"},
		{"in x 2,3; f32 t 3; node BatchNormalization b x,t,t,t,t y training_mode=1; out y",
			"node b|training_mode 1"},
		{"in x 2,3; f32 t 3; node BatchNormalization b x,t,t,t y; out y", "node b|input 4"},
		{"in x 2,3; f32 l 2; node Clip c x,l y; out y", "node c|min|2 values"},
		{"in x 2,3; node Relu l x z; node Clip c x,z y; out y", "node c|computed"},
		{"opset 9; in x 2,3; node Clip c x y min=1.0 max=0.0; out y", "node c|min 1"},
		{"in x 2,3; node Concat c x,x y axis=2; out y", "node c|axis 2"},
		{"in x 2,3; node Concat c x,x y; out y", "node c|axis"},
		{"in x 2,3; f32 k 4,4; node Concat c x,k y axis=0; out y", "node c|[4,4]"},
		{"in x 2,3; node Flatten f x y axis=3; out y", "node f|axis 3"},
		{"in x 2,3; i64 s 2=4,2; node Reshape r x,s y; out y", "node r|[2,3]|[4,2]"},
		{"in x 2,3; i64 s 2=-1,-1; node Reshape r x,s y; out y", "node r|dimension 1"},
		{"in x 2,3; i64 s 2=-1,4; node Reshape r x,s y; out y", "node r|[1,4]"},
		{"in x 2,3; i64 s 2=-7,1; node Reshape r x,s y; out y", "node r|-7"},
		{"in x 2,3; i64 s 3=4294967296,4294967296,-1; node Reshape r x,s y; out y",
			"node r|4294967296"},
		{"in x 2,3; f32 s 2; node Reshape r x,s y; out y", "node r|shape|data type 1"},
		{"in x 2,3; node Relu q x s; node Reshape r x,s y; out y", "node r|shape|computed"},
		{"in x 2,3; node Reshape r x y; out y", "node r|no shape"},
		{"in x 2,3; i64 s 7=1,1,1,1,1,1,6; node Reshape r x,s y; out y", "node r|7 values"},
		{"opset 14; in x 2,3; i64 s 2=0,3; node Reshape r x,s y allowzero=1; out y",
			"allowzero"},
		{"in x 2,3; i64 a 1=0; node Squeeze s x,a y; out y", "node s|dimension 0 is 2"},
		{"in x 2,3; i64 a 2=1,1; node Unsqueeze s x,a y; out y", "node s|twice"},
		{"in x 2,3; i64 a 5=0,1,2,3,4; node Unsqueeze s x,a y; out y", "node s|5 more"},
		{"in x 2,3; node Softmax s x y axis=2; out y", "node s|axis 2"},
		{"in x 2,3; node Transpose t x y perm=[0,0]; out y", "node t|permutation"},
		{"in x 2,3; node Transpose t x y perm=[0,1,2]; out y", "node t|perm has 3"},
		{"opset 10; in x 1,2,3,3; node Pad p x y pads=[0,0,-3,0,0,0,0,0]; out y",
			"node p|-3"},
		{"opset 10; in x 1,2,3,3; node Pad p x y pads=[0,0,1,0]; out y", "node p|4 pads"},
		{"in x 1,1,46341,46341; node Concat c x,x y axis=0; out y", "input x|too many"},
		{"in x 1,1,40000,40000; node Concat c x,x y axis=0; out y", "node c|too many"},
	};

	for (size_t i = 0; i < KERF_ARRAY_LEN(cases); i++) {
		struct bytes model = text_model(cases[i].text);
		expect_refusal(cases[i].text, model.data, model.len, cases[i].parts);
		free(model.data);
	}
}

static void test_cycle_is_named(void)
{
	/* The node that is named lies in the cycle, not behind it. */
	struct bytes model = text_model("in x 1,4; node Relu behind c d; node Relu behind2 d y; "
					"node Add in1 x,c b; node Relu in2 b c; out y");
	struct kerf_err err = {0};

	CU_ASSERT_PTR_NULL(load_bytes(model.data, model.len, &err));
	CU_ASSERT_TRUE(strstr(err.text, "node in1") || strstr(err.text, "node in2"));
	free(model.data);
}

static void test_not_a_file(void)
{
	struct kerf_err err = {0};
	char folder[300];

	CU_ASSERT_PTR_NULL(kerf_graph_load("/nonexistent.onnx", NULL, &err));
	CU_ASSERT_STRING_EQUAL(err.text, "/nonexistent.onnx: No such file or directory");
	snprintf(folder, sizeof(folder), "%s.d", text_path());
	CU_ASSERT_EQUAL(mkdir(folder, 0700), 0);
	CU_ASSERT_PTR_NULL(kerf_graph_load(folder, NULL, &err));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "not a regular file"));
	rmdir(folder);
	CU_ASSERT_PTR_NULL(load_bytes("", 0, &err));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "0 bytes"));
	CU_ASSERT_PTR_NULL(load_bytes("", 0, NULL));
	expect_refusal("text", "hello, this is no network\n", 26, "not a valid ONNX file");
}

/* Beside the model lies a file of six floats, and a link that leads away. */
static void test_external_data(void)
{
	static const float values[] = {9, 1, 2, 3, 4, 9};
	static const struct {
		const char *spec, *parts; /* NULL: loads */
	} cases[] = {
		{"4=D:4:16", NULL},
		{"6=D", NULL},
		{"5=D:4", NULL},
		{"4=D:4", "20 bytes|16"},
		{"4=D:25", "does not reach"},
		{"4=D:4:24", "is shorter"},
		{"4=D:-1:4", "does not reach"},
		{"4=D:x", "does not reach"},
		{"4=L:0:16", "outside the model"},
		{"4=.:0:16", "is not a regular file"},
	};
	char file[300], link[300], text[1000], data[300], away[300];
	const char *name = strrchr(text_path(), '/') + 1;
	uint8_t digest[2][KERF_DIGEST_LEN] = {{0}};
	struct kerf_err err = {0};

	snprintf(data, sizeof(data), "%s.data", name);
	snprintf(away, sizeof(away), "%s.away", name);
	snprintf(file, sizeof(file), "%s.data", text_path());
	snprintf(link, sizeof(link), "%s.away", text_path());
	write_bytes(file, values, sizeof(values));
	CU_ASSERT_EQUAL(symlink("/etc/passwd", link), 0);
	for (size_t i = 0; i < KERF_ARRAY_LEN(cases); i++) {
		const int at = (int)strcspn(cases[i].spec, "=") + 1;
		const char kind = cases[i].spec[at];

		snprintf(text, sizeof(text), "in x 1,%.1s; ext k %.*s%s%s; node Add a x,k y; out y", cases[i].spec, at,
			cases[i].spec, kind == 'D' ? data : kind == 'L' ? away : ".", cases[i].spec + at + 1);
		struct bytes model = text_model(text);
		struct kerf_graph *g = cases[i].parts ? NULL : load_bytes(model.data, model.len, &err);
		if (cases[i].parts)
			expect_refusal(text, model.data, model.len, cases[i].parts);
		else
			CU_ASSERT_PTR_NOT_NULL_FATAL(g);
		if (i == 0)
			CU_ASSERT_EQUAL(memcmp(g->tensors[g->nodes[0].inputs[1]].data, values + 1, 16), 0);
		kerf_graph_free(g);
		free(model.data);
	}
	/* Other weights make another network. */
	snprintf(text, sizeof(text), "in x 1,6; ext k 6=%s; node Add a x,k y; out y", data);
	for (int i = 0; i < 2; i++) {
		struct kerf_graph *g = load_text(text, &err);

		CU_ASSERT_PTR_NOT_NULL_FATAL(g);
		memcpy(digest[i], g->digest, sizeof(digest[i]));
		kerf_graph_free(g);
		write_bytes(file, (const float[]){9, 1, 2, 3, 4, 8}, sizeof(values));
	}
	CU_ASSERT_NOT_EQUAL(memcmp(digest[0], digest[1], sizeof(digest[0])), 0);
	/* The same bytes as several constants. */
	snprintf(text, sizeof(text),
		"in x 1,6; ext k 6=%s; ext l 6=%s; ext m 6=%s; node Sum a x,k,l,m y; out y", data, data, data);
	struct bytes flood = text_model(text);
	expect_refusal(text, flood.data, flood.len, "constant m|over and over");
	free(flood.data);
	remove(file);
	remove(link);
}

/* Sparse: nothing of it is read. */
static void test_too_large(void)
{
	struct kerf_err err = {0};

	write_bytes(text_path(), "", 0);
	if (truncate(text_path(), 2147483648ll) == 0) {
		CU_ASSERT_PTR_NULL(kerf_graph_load(text_path(), NULL, &err));
		CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "2147483648 bytes"));
	} else {
		printf("SKIP no large files ");
	}
	remove(text_path());
}

/* A model whose node's attribute holds a graph, whose node's attribute ..., `levels` times. */
static struct bytes nested_model(int levels)
{
	struct bytes inner = {0}, model = {0};

	for (int i = 0; i < levels; i++) {
		struct bytes node = {0}, graph = {0}, attr = {0};
		if (i)
			put_message(&attr, 6, &inner);
		put_text(&node, 4, "If");
		put_message(&node, 5, &attr);
		put_message(&graph, 1, &node);
		inner = graph;
	}
	put_int(&model, 1, 8);
	put_message(&model, 7, &inner);
	return model;
}

static void test_deep_nesting(void)
{
	struct bytes deep = nested_model(5000), flat = nested_model(30);

	CU_ASSERT_TRUE(deep.len < 100000);
	expect_refusal("5,000 levels", deep.data, deep.len, "nested");
	/* 30 Ifs in each other are unusual but valid: refused later, for their version. */
	expect_refusal("30 levels", flat.data, flat.len, "opset 0");
	free(deep.data);
	free(flat.data);
}

/* Hand-written wire format errors. */
static void test_wire_errors(void)
{
	static const struct {
		const char *data;
		size_t len;
		const char *parts;
	} cases[] = {
		{"\x08", 1, "byte 1: a number is cut off"},
		{"\x3a\x05\x0a", 3, "longer than what holds it"},
		{"\x3a\x02\x0a\x05", 4, "longer than what holds it"},
		{"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11, "longer than what holds it"},
		{"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12, "more than 10 bytes"},
		{"\x0b", 1, "wire type"},
		{"\x0f", 1, "wire type"},
		{"\x00\x00", 2, "field number"},
		{"\x09\x00\x00", 3, "longer"},
		{"\x3a\x00\x3a\x00", 4, "twice"},
	};

	for (size_t i = 0; i < KERF_ARRAY_LEN(cases); i++)
		expect_refusal("wire", cases[i].data, cases[i].len, cases[i].parts);
}

/* Empty messages take two bytes in the file and a hundred in memory. */
static void test_message_flood(void)
{
	struct bytes graph = {0}, model = {0};

	for (int i = 0; i < 2000000; i++)
		put(&graph, "\x0a", 2);
	put_message(&model, 7, &graph);
	expect_refusal("flood", model.data, model.len, "more than 1048576 messages");
	free(model.data);
}

/* Nodes of 40 bytes each that transpose the same weights again and again. */
static void test_constant_flood(void)
{
	static char text[100000] = "in x 4,100; f32 w 100,100";
	size_t used = strlen(text);

	for (int i = 0; i < 500; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used,
			"; node Gemm g%d %c%d,w y%d", i, i ? 'y' : 'x', i ? i - 1 : 0, i);
	snprintf(text + used, sizeof(text) - used, "; out y499");
	memcpy(strstr(text, "x0,w"), "x,w ", 4);
	struct bytes model = text_model(text);
	expect_refusal("constants", model.data, model.len, "take far more than the file");
	free(model.data);
}

static void test_long_name(void)
{
	static char text[20000] = "in x 1,4; node Relu ";

	memset(text + strlen(text), 'n', 5000);
	strcat(text, " x y; out y");
	struct bytes model = text_model(text);
	expect_refusal("a long name", model.data, model.len, "name is longer than 4096 bytes");
	free(model.data);
}

static void cut_everywhere(const char *text)
{
	struct bytes model = text_model(text);
	struct kerf_err first = {0};
	struct kerf_graph *g = load_bytes(model.data, model.len, &first);
	int loaded = 0;

	if (!g)
		printf("%s\n", first.text);
	CU_ASSERT_PTR_NOT_NULL(g);
	kerf_graph_free(g);
	for (size_t len = 0; len < model.len; len++) {
		struct kerf_err err = {0};
		g = load_bytes(model.data, len, &err);
		loaded += g != NULL;
		CU_ASSERT_TRUE(g || err.text[0]);
		kerf_graph_free(g);
	}
	/* Only the opset stands behind the graph, and no file does without it. */
	CU_ASSERT_EQUAL(loaded, 0);
	free(model.data);
}

static void test_truncations(void)
{
	cut_everywhere(sound);
	cut_everywhere(later);
}

static void damage(const char *text)
{
	struct bytes model = text_model(text);
	uint8_t *copy = malloc(model.len);
	struct kerf_rng rng = {.seed = SEED};
	int loaded = 0;

	for (int round = 0; round < 20000; round++) {
		struct kerf_err err = {0};
		memcpy(copy, model.data, model.len);
		for (unsigned flips = 1 + kerf_rng_u32(&rng) % 4; flips; flips--) {
			uint8_t *at = &copy[kerf_rng_u32(&rng) % model.len];
			*at = kerf_rng_u32(&rng) % 2
				      ? (uint8_t)kerf_rng_u32(&rng)
				      : *at ^ (uint8_t)(1u << kerf_rng_u32(&rng) % 8);
		}
		struct kerf_graph *g = load_bytes(copy, model.len, &err);
		CU_ASSERT_TRUE(g || err.text[0]);
		CU_ASSERT_TRUE(!g || keeps_promises(g));
		loaded += g != NULL;
		kerf_graph_free(g);
	}
	/* Damage to a weight or a name goes unnoticed; damage to the structure must not. */
	printf("seed %d: %d of 20000 damaged files load ", SEED, loaded);
	CU_ASSERT_TRUE(loaded > 0 && loaded < 20000);
	free(copy);
	free(model.data);
}

static void test_damage(void)
{
	damage(sound);
	damage(later);
}

UNIT_MAIN("onnx_hostile", UNIT(test_refusals), UNIT(test_cycle_is_named), UNIT(test_not_a_file),
	UNIT(test_external_data), UNIT(test_too_large), UNIT(test_deep_nesting), UNIT(test_wire_errors),
	UNIT(test_message_flood), UNIT(test_constant_flood), UNIT(test_long_name),
	UNIT(test_truncations), UNIT(test_damage))
